// Which requests go by a proxy, and how: https by CONNECT, so that the proxy sees a host name and no more.

import { Agent as HttpsAgent } from 'node:https'
import { connect, isIP, type Socket } from 'node:net'
import { connect as connectTls, type ConnectionOptions, createSecureContext } from 'node:tls'
import { Agent, buildConnector, type Dispatcher, Pool, ProxyAgent } from 'undici'
import { addressRanges, inRanges, isRange } from '../config/addresses.ts'
import { isLoopback } from '../config/hosts.ts'
import type { Proxies } from '../config/proxies.ts'
import { CONNECT_OPTIONS, CONNECT_TIMEOUT_MS, lookup } from './connect.ts'

const MAX_HEAD_BYTES = 16 * 1024
const HEAD_END = '\r\n\r\n'

/** `code` is safe to log. A request that failed with it was never sent. */
class ProxyError extends Error {
  declare readonly code: string
  constructor (code: string) {
    super(`the proxy opened no tunnel: ${code}`)
    this.code = code
  }
}

/** The proxy for this address, or null for a direct connection: always to this machine, and to what NO_PROXY names. */
export function routeOf ({ https, http, exempt }: Proxies, { protocol, hostname, port }: URL): URL | null {
  const isHttps = /^(https|wss):$/.test(protocol)
  const host = hostname.replace(/^\[|\]$|\.$/g, '').toLowerCase()
  const proxy = isHttps ? https ?? http : http
  if (proxy === null || isThisMachine(host)) return null
  const number = Number(port) || (isHttps ? 443 : 80)
  return exempt.some((entry) => isExempt(entry, host, number)) ? null : proxy
}

/** Unspecified, or loopback as an IPv6 address. */
const OWN_ADDRESS = /^(0\.0\.0\.0|::|::ffff:(0:0|7f[\da-f]{2}:[\da-f]+))$/
/** Names of loopback in the hosts files of distributions. */
const OWN_NAME = /(^|\.)localhost$|^localhost[46]?(\.localdomain[46]?)?$|^ip6-(localhost|loopback)$/

function isThisMachine (host: string): boolean {
  return isLoopback(host) || OWN_NAME.test(host) || OWN_ADDRESS.test(host)
}

/** NO_PROXY as curl reads it: `*`, a name with all below it, an address, a range, each with a port or without. */
function isExempt (entry: string, host: string, port: number): boolean {
  const [, name = '', only] = isRange(entry) ? ['', entry] : /^(\[.+\]|[^:]*)(?::(\d+))?$/.exec(entry) ?? []
  if (only !== undefined && Number(only) !== port) return false
  if (name === '*') return true
  const range = name.replace(/^\[|\]$/g, '')
  if (isRange(range)) return inRanges(addressRanges([range]), host)
  const suffix = name.replace(/^\*?\.|\.$/g, '')
  // Suffixes match names only: the end of an address means nothing.
  if (suffix === '' || isIP(host) !== 0) return false
  return host.endsWith(`.${suffix}`) || (suffix === host && !name.startsWith('*'))
}

/** Connections to `origin`, by `proxy` or directly. `options` are those of the pool that has them. */
export function openPool (
  origin: string, proxy: URL | null, options: Pool.Options
): Pick<Dispatcher, 'dispatch' | 'request' | 'close'> {
  if (proxy === null) return new Pool(origin, { ...options, ...CONNECT_OPTIONS })
  if (isEncrypted(origin)) return new Pool(origin, { ...options, allowH2: false, connect: connectThrough(proxy) })
  const agent = forwardingAgent(proxy, options)
  return {
    dispatch: (request, handler) => agent.dispatch({ ...request, origin }, handler),
    request: ((request: Omit<Dispatcher.RequestOptions, 'origin'>) =>
      agent.request({ ...request, origin } as Dispatcher.RequestOptions)) as Dispatcher['request'],
    close: () => agent.close()
  }
}

/** One agent for direct requests, and two per proxy: for https and for http. */
export function openAgents (): (proxy: URL | null, target: URL) => Dispatcher {
  const direct = new Agent(CONNECT_OPTIONS)
  const agents = new Map<string, Dispatcher>()
  return (proxy, { origin }) => {
    if (proxy === null) return direct
    const key = `${isEncrypted(origin)} ${proxy.href}`
    const agent = agents.get(key) ?? (isEncrypted(origin)
      ? new Agent({ allowH2: false, connect: connectThrough(proxy) })
      : forwardingAgent(proxy, {}))
    agents.set(key, agent)
    return agent
  }
}

/** For a WebSocket to an address that begins with wss. */
export function createTunnelAgent (proxy: URL): HttpsAgent {
  const agent = new HttpsAgent({ secureContext: createSecureContext() })
  agent.createConnection = (options, done) => {
    const { host = '', port, servername = nameOf(host) } = options as ConnectionOptions
    openTunnel(proxy, authorityOf(host, port)).then(
      (socket) => done?.(null, connectTls({ ...options as ConnectionOptions, socket, servername })),
      (error) => done?.(error, undefined as never)
    )
    return undefined
  }
  return agent
}

const isEncrypted = (origin: string) => origin.startsWith('https:')
const nameOf = (host: string) => isIP(host) === 0 ? host : ''
const authorityOf = (host: string, port: unknown) => `${isIP(host) === 6 ? `[${host}]` : host}:${Number(port) || 443}`

/** Plain http is handed to the proxy, which most allow to port 443 only by CONNECT. */
function forwardingAgent (proxy: URL, options: Pool.Options): ProxyAgent {
  return new ProxyAgent({
    uri: proxy.href,
    proxyTls: CONNECT_OPTIONS.connect,
    factory: (origin, own) => new Pool(origin, { ...options, ...own })
  })
}

function connectThrough (proxy: URL): buildConnector.connector {
  const encrypt = buildConnector({ ...CONNECT_OPTIONS.connect, allowH2: false })
  return (options, done) => {
    openTunnel(proxy, authorityOf(options.hostname.replace(/^\[|\]$/g, ''), options.port)).then(
      (socket) => encrypt({ ...options, httpSocket: socket }, done), (error) => done(error, null)
    )
  }
}

/** A connection to `authority` by CONNECT (RFC 9110, section 9.3.6). Rejects in time, with an error that has a code. */
export function openTunnel (proxy: URL, authority: string): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const isTls = proxy.protocol === 'https:'
    const host = proxy.hostname.replace(/^\[|\]$/g, '')
    const place = { host, port: Number(proxy.port) || (isTls ? 443 : 80), lookup }
    const socket = isTls ? connectTls({ ...place, servername: nameOf(host) }) : connect(place)
    let head = ''
    const settle = (error: Error | null) => {
      clearTimeout(timer)
      socket.removeListener('data', read).removeListener('close', onClose)
      if (error === null) return resolve(socket)
      socket.destroy()
      reject(error)
    }
    const onClose = () => settle(new ProxyError('PROXY_CLOSED'))
    const read = (chunk: Buffer) => {
      head += chunk.toString('latin1')
      const end = head.indexOf(HEAD_END)
      if (end === -1 && head.length <= MAX_HEAD_BYTES) return
      const [, status] = /^HTTP\/1\.[01] (\d{3})\b/.exec(head) ?? []
      // Bytes behind the head are an error: in a tunnel the client speaks first.
      const isClean = end + HEAD_END.length === head.length
      if (status?.startsWith('2') && isClean) settle(null)
      else settle(new ProxyError(`PROXY_${status === undefined || status.startsWith('2') ? 'GARBAGE' : status}`))
    }
    const timer = setTimeout(
      () => settle(Object.assign(new Error('no tunnel in time'), { code: 'UND_ERR_CONNECT_TIMEOUT' })),
      CONNECT_TIMEOUT_MS
    )
    socket.setNoDelay()
    socket.on('error', (error: NodeJS.ErrnoException) => settle(proxyFault(error)))
    socket.on('close', onClose)
    socket.on('data', read)
    socket.once(isTls ? 'secureConnect' : 'connect', () => socket.write(connectRequest(proxy, authority)))
  })
}

/** Codes unlike those of upstream, which may have read the request. With ENOTFOUND undici would retry for ever. */
function proxyFault (error: NodeJS.ErrnoException): Error {
  if (error.code === 'ECONNRESET' || error.code === 'EPIPE') return new ProxyError('PROXY_CLOSED')
  return error.code?.startsWith('ERR_TLS') ? new ProxyError('PROXY_TLS') : error
}

function connectRequest ({ username, password }: URL, authority: string): string {
  const credentials = Buffer.from(`${decodeURIComponent(username)}:${decodeURIComponent(password)}`).toString('base64')
  return [
    `CONNECT ${authority} HTTP/1.1`,
    `Host: ${authority}`,
    ...(username + password === '' ? [] : [`Proxy-Authorization: Basic ${credentials}`]),
    HEAD_END.slice(2)
  ].join('\r\n')
}
