// Spans, made by OpenTelemetry's SDK and sent by OTLP. Loaded only where an endpoint is configured: without one the
// service has none of these functions, and nothing asks whether it has.

import { AsyncLocalStorage } from 'node:async_hooks'
import { type Attributes, ROOT_CONTEXT, type Span, SpanKind, SpanStatusCode, trace } from '@opentelemetry/api'
import { W3CTraceContextPropagator } from '@opentelemetry/core'
import { BatchSpanProcessor, TracerProvider } from '@opentelemetry/sdk-trace'
import { ATTR_ERROR_TYPE, ATTR_HTTP_RESPONSE_STATUS_CODE } from '@opentelemetry/semantic-conventions'
import type { TracingSettings } from '../config/tracing.ts'
import type { PlainLog } from '../records/log.ts'
import { openExporter } from './exporter.ts'
import { resourceOf, samplerOf } from './options.ts'

/** `status` is that of an HTTP answer; null: there was none. `error` is a short word, null for a success. */
export type Outcome = Readonly<{ status: number | null, error: string | null }>

export type ServerSpan = Readonly<{
  traceId: string
  /** Spans that begin in `work`, or later on in what it starts, are children of this one. */
  within: (work: () => void) => void
  failed: (code: string) => void
  /** Null: the client was gone before the answer. */
  end: (status: number | null) => void
}>

export type ClientSpan = Readonly<{ end: (outcome: Outcome) => void }>

export type Tracing = Readonly<{
  /** `headers` are those of a trusted proxy, or empty: a trace that they name is continued. */
  serve: (name: string, attributes: Attributes, headers: Headers) => ServerSpan
  /** A span for a request to another server. */
  ask: (name: string, attributes: Attributes) => ClientSpan
  /** False in work that no request waits for, such as what a replica does every half second. */
  isForRequest: () => boolean
  /** Sends what there is, for a second at most. */
  close: () => Promise<void>
}>

type Headers = Readonly<Record<string, string | string[] | undefined>>
type Current = { readonly span: Span, isOver: boolean }

const SENT_WITHIN_MS = 1000
const propagator = new W3CTraceContextPropagator()
const getter = { keys: Object.keys, get: (headers: Headers, name: string) => headers[name] }

export async function openTracing (
  settings: TracingSettings, { version, log }: Readonly<{ version: string, log: PlainLog }>
): Promise<Tracing> {
  const { batch } = settings
  const provider = new TracerProvider({
    resource: resourceOf(settings, version),
    sampler: samplerOf(settings),
    spanProcessors: [new BatchSpanProcessor({
      exporter: await openExporter(settings, log),
      scheduledDelayMillis: batch.delayMs,
      exportTimeoutMillis: batch.timeoutMs,
      maxQueueSize: batch.maxQueued,
      maxExportBatchSize: Math.min(batch.maxSize, batch.maxQueued)
    })]
  })
  const tracer = provider.getTracer('ephemint', version)
  // This instance's own and not the API's global one, where other code could find spans.
  const current = new AsyncLocalStorage<Current>()

  return {
    serve: (name, attributes, headers) => {
      const parent = propagator.extract(ROOT_CONTEXT, headers, getter)
      const span = tracer.startSpan(name, { kind: SpanKind.SERVER, attributes }, parent)
      const own: Current = { span, isOver: false }
      let failure: string | null = null
      return {
        traceId: span.spanContext().traceId,
        within: (work) => current.run(own, work),
        failed: (code) => { failure = code },
        end: (status) => {
          own.isOver = true
          // A client's mistake is no error of a server span.
          const error = status === null ? 'client_gone' : status >= 500 ? failure : null
          end(span, { status, error })
        }
      }
    },
    ask: (name, attributes) => {
      const by = current.getStore()
      const kind = SpanKind.CLIENT
      // Work after the request was answered (a call, keys that are renewed) is a trace of its own.
      const span = by === undefined || by.isOver
        ? tracer.startSpan(name, { kind, attributes, root: true, links: linkTo(by) }, ROOT_CONTEXT)
        : tracer.startSpan(name, { kind, attributes }, trace.setSpan(ROOT_CONTEXT, by.span))
      return { end: (outcome) => end(span, outcome) }
    },
    isForRequest: () => current.getStore()?.isOver === false,
    close: async () => {
      const sent = provider.shutdown().catch(() => {})
      await Promise.race([sent, new Promise((resolve) => { setTimeout(resolve, SENT_WITHIN_MS).unref() })])
    }
  }
}

function linkTo (by: Current | undefined) {
  return by === undefined ? [] : [{ context: by.span.spanContext() }]
}

function end (span: Span, { status, error }: Outcome): void {
  if (status !== null) span.setAttribute(ATTR_HTTP_RESPONSE_STATUS_CODE, status)
  if (error !== null) span.setAttribute(ATTR_ERROR_TYPE, error).setStatus({ code: SpanStatusCode.ERROR })
  span.end()
}
