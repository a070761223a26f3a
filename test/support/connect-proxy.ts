// A forward proxy: CONNECT for https, absolute URLs for plain http. The test decides which port each name leads to.

import { once } from 'node:events'
import { createServer, type IncomingMessage, request as httpRequest } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import { type AddressInfo, connect, type Socket } from 'node:net'
import type { Certificate } from './certificate.ts'
import type { Owner } from './fault-proxy.ts'

export type ConnectProxy = Readonly<{
  url: string
  /** `host:port` without scheme, user and password. */
  host: string
  /** The requests to the proxy: `CONNECT api.test:443`, `GET http://api.test/`. */
  requests: string[]
  /** The Proxy-Authorization of each request. */
  credentials: (string | undefined)[]
  /** The bytes of tunnels, as the proxy sees them. */
  seen: () => string
  /** Answers CONNECT with these bytes instead of a tunnel; null opens tunnels again, '' closes the connection. */
  answer: (bytes: string | null) => void
}>

export type ConnectProxyOptions = Readonly<{
  /** Ports by name: `{ 'api.test:443': 8443 }`. */
  ports: Readonly<Record<string, number>>
  /** The required credentials as `user:password`, percent-encoded. */
  login?: string
  certificate?: Certificate
}>

export async function startConnectProxy (
  owner: Owner, { ports, login, certificate }: ConnectProxyOptions
): Promise<ConnectProxy> {
  const requests: string[] = []
  const credentials: (string | undefined)[] = []
  const sockets = new Set<Socket>()
  let seen = ''
  let scripted: string | null = null
  const expected = login === undefined
    ? undefined
    : `Basic ${Buffer.from(decodeURIComponent(login)).toString('base64')}`
  const server = certificate === undefined ? createServer() : createTlsServer(certificate)

  const isKnown = ({ headers }: IncomingMessage) => {
    credentials.push(headers['proxy-authorization'])
    return headers['proxy-authorization'] === expected
  }
  server.on('connection', (socket: Socket) => {
    sockets.add(socket)
    socket.on('error', () => {})
  })
  server.on('connect', (request: IncomingMessage, client: Socket) => {
    requests.push(`CONNECT ${request.url}`)
    client.on('error', () => {})
    const known = isKnown(request)
    if (scripted !== null) return client.end(scripted)
    const port = ports[String(request.url)]
    if (!known) return client.end('HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n')
    if (port === undefined) return client.end('HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n')
    const other = connect(port, '127.0.0.1', () => {
      client.write('HTTP/1.1 200 Connection established\r\n\r\n')
      client.on('data', (chunk) => { seen += chunk.toString('latin1') })
      client.pipe(other).pipe(client)
    })
    sockets.add(other)
    for (const [socket, peer] of [[client, other], [other, client]] as const) {
      socket.on('error', () => peer.destroy())
      socket.on('close', () => peer.destroy())
    }
  })
  server.on('request', (request: IncomingMessage, response) => {
    requests.push(`${request.method} ${request.url}`)
    if (!isKnown(request)) return response.writeHead(407).end()
    const { host, pathname, search } = new URL(String(request.url))
    const { 'proxy-authorization': _, ...headers } = request.headers
    const port = ports[host] ?? 0
    const path = pathname + search
    const onward = httpRequest({ host: '127.0.0.1', port, path, method: request.method, headers }, (answer) => {
      response.writeHead(answer.statusCode ?? 0, answer.headers)
      answer.pipe(response)
    })
    request.pipe(onward)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  owner.teardown(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  const host = `localhost:${(server.address() as AddressInfo).port}`
  return {
    url: `${certificate === undefined ? 'http' : 'https'}://${login === undefined ? '' : `${login}@`}${host}`,
    host,
    requests,
    credentials,
    seen: () => seen,
    answer: (bytes) => { scripted = bytes }
  }
}
