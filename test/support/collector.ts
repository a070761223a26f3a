// A collector of spans on a real socket, which speaks OTLP over HTTP: JSON, or binary Protobuf read field by field.

import { once } from 'node:events'
import { createServer, type IncomingHttpHeaders, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { gunzipSync } from 'node:zlib'
import type { Owner } from './fault-proxy.ts'
import { until } from './until.ts'

export type Span = Readonly<{
  traceId: string
  spanId: string
  /** Empty for a root span. */
  parentSpanId: string
  name: string
  /** 2: server, 3: client. */
  kind: number
  attributes: Readonly<Record<string, unknown>>
  /** 2: an error. */
  status: number
  traceState: string
  /** The spans that it links to. */
  links: readonly string[]
  resource: Readonly<Record<string, unknown>>
}>

type Posted = Readonly<{ path: string, headers: IncomingHttpHeaders, bytes: Buffer }>

export type Collector = Readonly<{
  url: string
  posts: readonly Posted[]
  spans: () => Span[]
  /** Waits for `count` spans with this name. */
  span: (name: string, count?: number) => Promise<Span>
  answer: (reply: (response: ServerResponse) => void) => void
}>

export async function startCollector (owner: Owner): Promise<Collector> {
  const posts: Posted[] = []
  let reply = (response: ServerResponse) => { response.writeHead(200).end() }
  const server = createServer(async (request, response) => {
    const sent = Buffer.concat(await request.toArray())
    const bytes = request.headers['content-encoding'] === 'gzip' ? gunzipSync(sent) : sent
    posts.push({ path: request.url ?? '', headers: request.headers, bytes })
    reply(response)
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  owner.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  const spans = () => posts.flatMap(({ headers, bytes }) =>
    headers['content-type'] === 'application/json' ? fromJson(JSON.parse(bytes.toString())) : fromProtobuf(bytes))
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    posts,
    spans,
    span: (name, count = 1) =>
      until(`${count} × ${name}`, () => spans().filter((span) => span.name === name)[count - 1]),
    answer: (next) => { reply = next }
  }
}

type JsonValue = { stringValue?: string, intValue?: number | string }
type JsonAttributes = { key: string, value: JsonValue }[]
type JsonSpan = Omit<Span, 'attributes' | 'status' | 'links' | 'resource'> & {
  attributes: JsonAttributes, status?: { code?: number }, links?: { spanId: string }[]
}
type JsonRequest = {
  resourceSpans: { resource: { attributes: JsonAttributes }, scopeSpans: { spans: JsonSpan[] }[] }[]
}

function fromJson ({ resourceSpans }: JsonRequest): Span[] {
  const valuesOf = (attributes: JsonAttributes) => Object.fromEntries(attributes.map(
    ({ key, value }) => [key, value.stringValue ?? Number(value.intValue)]
  ))
  return resourceSpans.flatMap(({ resource, scopeSpans }) => scopeSpans.flatMap(({ spans }) => spans.map((span) => ({
    traceId: span.traceId,
    spanId: span.spanId,
    parentSpanId: span.parentSpanId ?? '',
    name: span.name,
    kind: span.kind,
    attributes: valuesOf(span.attributes),
    status: span.status?.code ?? 0,
    traceState: span.traceState ?? '',
    links: (span.links ?? []).map(({ spanId }) => spanId),
    resource: valuesOf(resource.attributes)
  }))))
}

/** Decodes by the field numbers of opentelemetry-proto 1: trace/v1/trace.proto, common/v1/common.proto. */
function fromProtobuf (bytes: Buffer): Span[] {
  return all(bytes, 1).flatMap((resourceSpans) => {
    const resource = valuesOf(all(one(resourceSpans, 1), 1))
    return all(resourceSpans, 2).flatMap((scopeSpans) => all(scopeSpans, 2)).map((span) => ({
      traceId: one(span, 1).toString('hex'),
      spanId: one(span, 2).toString('hex'),
      parentSpanId: one(span, 4).toString('hex'),
      name: one(span, 5).toString(),
      kind: Number(fields(span).find(({ number }) => number === 6)?.value),
      attributes: valuesOf(all(span, 9)),
      status: Number(fields(one(span, 15)).find(({ number }) => number === 3)?.value ?? 0),
      traceState: one(span, 3).toString(),
      links: all(span, 13).map((link) => one(link, 2).toString('hex')),
      resource
    }))
  })
}

function valuesOf (pairs: readonly Buffer[]): Record<string, unknown> {
  return Object.fromEntries(pairs.map((pair) => {
    const [{ value } = { value: '' }] = fields(one(pair, 2))
    return [one(pair, 1).toString(), Buffer.isBuffer(value) ? value.toString() : Number(value)]
  }))
}

function all (message: Buffer, number: number): Buffer[] {
  return fields(message).flatMap(({ number: found, value }) =>
    found === number && Buffer.isBuffer(value) ? [value] : [])
}

function one (message: Buffer, number: number): Buffer {
  return all(message, number)[0] ?? Buffer.alloc(0)
}

/** The wire types: varint, 8 bytes, 4 bytes, and length-delimited. */
function fields (message: Buffer): { number: number, value: Buffer | bigint }[] {
  const found: { number: number, value: Buffer | bigint }[] = []
  let at = 0
  const varint = (): bigint => {
    let value = 0n
    for (let shift = 0n; ; shift += 7n) {
      const byte = message[at++] as number
      value |= BigInt(byte & 0x7f) << shift
      if (byte < 0x80) return value
    }
  }
  const take = (length: number): Buffer => {
    at += length
    return message.subarray(at - length, at)
  }
  while (at < message.length) {
    const tag = Number(varint())
    const [number, type] = [tag >> 3, tag & 7]
    found.push({ number, value: type === 0 ? varint() : take(type === 1 ? 8 : type === 5 ? 4 : Number(varint())) })
  }
  return found
}
