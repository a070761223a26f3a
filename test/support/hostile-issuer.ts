// Someone on loopback who answers what a test tells it to: an issuer, an app's endpoint, an authorization server, good or bad.

import { createServer, type IncomingHttpHeaders, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { text } from 'node:stream/consumers'
import type { Test } from 'tap'

export type Asked = Readonly<{ method: string, path: string, headers: IncomingHttpHeaders, body: string }>
type Behaviour = (response: ServerResponse, request: IncomingMessage) => void

export type HostileIssuer = Readonly<{
  url: string
  /** What it was asked, in order. */
  asked: Asked[]
  /** From now on. */
  behave: (behaviour: Behaviour) => void
  close: () => Promise<void>
}>

export async function startHostileIssuer (t: Test, behaviour: Behaviour = answers({})): Promise<HostileIssuer> {
  const asked: Asked[] = []
  let behave = behaviour
  const server = createServer(async (request, response) => {
    asked.push({
      method: request.method as string, path: request.url as string, headers: request.headers, body: await text(request)
    })
    behave(response, request)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const close = async () => {
    server.closeAllConnections()
    await new Promise((resolve) => server.close(resolve))
  }
  t.teardown(close)
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    asked,
    behave: (next) => { behave = next },
    close
  }
}

/** A string is sent as it is, anything else as JSON. */
export function answers (
  body: unknown, status = 200, headers: Record<string, string> = { 'content-type': 'application/json' }
): Behaviour {
  return (response) => {
    response.writeHead(status, headers).end(
      typeof body === 'string' ? body : JSON.stringify(body)
    )
  }
}

/** Bytes without end, until the other side has had enough. */
export const floods: Behaviour = (response) => {
  response.writeHead(200, { 'content-type': 'application/json' })
  const chunk = Buffer.alloc(64 * 1024, ' ')
  const more = () => { while (!response.destroyed && response.write(chunk)); }
  response.on('drain', more)
  more()
}

export const hangsUp: Behaviour = (response) => { response.destroy() }
