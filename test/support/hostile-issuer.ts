// A scripted server on loopback: an issuer, an app's endpoint or an authorization server, good or bad.

import { createServer, type IncomingHttpHeaders, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { text } from 'node:stream/consumers'
import type { Test } from 'tap'

export type IssuerRequest = Readonly<{ method: string, path: string, headers: IncomingHttpHeaders, body: string }>
type Behaviour = (response: ServerResponse, request: IncomingMessage) => void

export type HostileIssuer = Readonly<{
  url: string
  /** The requests that arrived, in order. */
  requests: IssuerRequest[]
  /** Replaces the script. */
  behave: (behaviour: Behaviour) => void
  close: () => Promise<void>
}>

export async function startHostileIssuer (t: Test, behaviour: Behaviour = answers({})): Promise<HostileIssuer> {
  const requests: IssuerRequest[] = []
  let behave = behaviour
  const server = createServer(async (request, response) => {
    requests.push({
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
    requests,
    behave: (next) => { behave = next },
    close
  }
}

/** Sends a string unchanged, anything else as JSON. */
export function answers (
  body: unknown, status = 200, headers: Record<string, string> = { 'content-type': 'application/json' }
): Behaviour {
  return (response) => {
    response.writeHead(status, headers).end(
      typeof body === 'string' ? body : JSON.stringify(body)
    )
  }
}

/** Writes bytes until the other side closes. */
export const floods: Behaviour = (response) => {
  response.writeHead(200, { 'content-type': 'application/json' })
  const chunk = Buffer.alloc(64 * 1024, ' ')
  const more = () => { while (!response.destroyed && response.write(chunk)); }
  response.on('drain', more)
  more()
}

export const hangsUp: Behaviour = (response) => { response.destroy() }
