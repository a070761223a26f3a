// Which requests go by a proxy, and that it cannot read the bytes in its tunnels.

import { once } from 'node:events'
import { createServer as createPlainServer, type RequestListener } from 'node:http'
import { createServer } from 'node:https'
import { type AddressInfo, createServer as createTcpServer } from 'node:net'
import { getCACertificates, setDefaultCACertificates } from 'node:tls'
import t, { type Test } from 'tap'
import { WebSocket, WebSocketServer } from 'ws'
import { NO_PROXIES, type Proxies, readProxies } from '../../src/config/proxies.ts'
import { createTunnelAgent, openPool, openTunnel, routeOf } from '../../src/outbound/proxy.ts'
import { addressFault, createSender, OutboundError } from '../../src/outbound/request.ts'
import { codeOf } from '../../src/upstream/attempt.ts'
import { CALLERS, CANARIES, POLICY, startApp } from '../support/app.ts'
import { lastDecision } from '../support/behind-proxy.ts'
import { createAuthority } from '../support/certificate.ts'
import { type ConnectProxyOptions, startConnectProxy } from '../support/connect-proxy.ts'
import { freePort } from '../support/processes.ts'
import { currentAnswer, startUpstream } from '../support/upstream.ts'

const authority = createAuthority()
const before = getCACertificates()
setDefaultCACertificates([...before, authority.cert])
t.teardown(() => setDefaultCACertificates(before))

const LOGIN = 'us%40er:canary-proxy-%24ecret'
const KNOWN = `Basic ${Buffer.from('us@er:canary-proxy-$ecret').toString('base64')}`

function proxiesOf (env: Record<string, string>): Proxies {
  return readProxies(env, (name, text) => t.fail(`${name} ${text}`))
}

const way = (env: Record<string, string>, url: string) => routeOf(proxiesOf(env), new URL(url))?.host ?? 'directly'

t.test('field F23: nothing to this machine goes by a proxy', async (t) => {
  const env = { HTTPS_PROXY: 'http://proxy.test:3128', HTTP_PROXY: 'http://proxy.test:3128' }
  for (const host of [
    'localhost', 'LOCALHOST', 'localhost.', 'app.localhost', '127.0.0.1', '127.9.9.9', '127.1', '2130706433', '[::1]',
    '0.0.0.0', '[::]', '[::ffff:127.0.0.1]', '[::ffff:0.0.0.0]', '[0:0:0:0:0:0:0:1]', 'localhost.localdomain',
    'localhost6', 'localhost6.localdomain6', 'ip6-localhost', 'ip6-loopback'
  ]) {
    for (const scheme of ['http', 'https', 'wss']) t.equal(way(env, `${scheme}://${host}:8443/`), 'directly', host)
  }
  for (const host of [
    'localhost.test', 'xlocalhost', 'localhost.localdomain.test', 'localhost7', 'ip6-localhost.test', '128.0.0.1',
    '10.0.0.1', '[::2]', '[::ffff:8.8.8.8]'
  ]) {
    t.equal(way(env, `https://${host}/`), 'proxy.test:3128', host)
  }
})

t.test('field F23: NO_PROXY names hosts with all below them, addresses, ranges, ports, or everything', async (t) => {
  const rows: [noProxy: string, exempt: string[], others: string[]][] = [
    ['', [], ['https://api.test', 'http://api.test']],
    ['*', ['https://api.test', 'https://10.0.0.1'], []],
    ['*:8443', ['https://api.test:8443'], ['https://api.test']],
    ['api.test', ['https://api.test', 'https://API.test.', 'https://eu.api.test'], ['https://xapi.test']],
    ['.api.test', ['https://api.test', 'https://eu.api.test'], ['https://xapi.test']],
    ['*.api.test', ['https://eu.api.test'], ['https://api.test', 'https://xapi.test']],
    ['API.TEST.', ['https://api.test'], ['https://api.tests']],
    ['api.test:443, b.test:80', ['https://api.test', 'http://b.test'], ['https://api.test:8443', 'https://b.test']],
    ['a.test b.test,,c.test', ['https://a.test', 'https://b.test', 'https://c.test'], ['https://d.test']],
    ['10.0.0.0/8,fd00::/8', ['https://10.1.2.3', 'https://[fd00::7]'], ['https://11.0.0.1', 'https://10.test']],
    ['192.0.2.7,[2001:db8::7]:443', ['https://192.0.2.7', 'https://[2001:db8::7]'], ['https://[2001:db8::7]:8443']],
    ['2001:db8::8', ['https://[2001:db8::8]'], ['https://[2001:db8::9]']],
    ['[2001:DB8:0::7]:443', ['https://[2001:db8::7]'], ['https://[2001:db8::7]:8443', 'https://[2001:db8::8]']],
    ['10.0.0.0/8:8443', ['https://10.1.2.3:8443', 'https://[::ffff:10.1.2.3]:8443'], ['https://10.1.2.3']],
    ['[fd00::/8]:443,[fe00::/8]', ['https://[fd00::7]', 'https://[fe00::7]'], ['https://[fd00::7]:8443']],
    ['3,2.3,.3,*.3,*10.1.2.3,10.1.2,10.,10.*', [], ['https://10.1.2.3', 'https://[2001:db8::3]']],
    ['https://api.test,api.test/,api.*,*api.test', [], ['https://api.test', 'https://xapi.test']],
    ['.,*.,:443,10.0.0.0/99,[,[::1', [], ['https://api.test', 'https://10.0.0.1']]
  ]
  for (const [noProxy, exempt, others] of rows) {
    const env = { HTTPS_PROXY: 'http://p:1', HTTP_PROXY: 'http://p:1', NO_PROXY: noProxy }
    for (const url of exempt) t.equal(way(env, url), 'directly', `${noProxy}: ${url}`)
    for (const url of others) t.equal(way(env, url), 'p:1', `${noProxy}: ${url}`)
  }
})

t.test('field F23: the upper case goes before the lower; https without a proxy takes that of http', async (t) => {
  t.same(routeOf(NO_PROXIES, new URL('https://api.test')), null)
  t.equal(way({ HTTPS_PROXY: 'http://a:1', https_proxy: 'http://b:1' }, 'https://api.test'), 'a:1')
  t.equal(way({ HTTPS_PROXY: '', https_proxy: 'http://b:1' }, 'https://api.test'), 'b:1')
  t.equal(way({ HTTPS_PROXY: 'http://a:1', no_proxy: 'api.test' }, 'https://api.test'), 'directly')
  t.equal(way({ HTTPS_PROXY: 'http://a:1', NO_PROXY: 'b.test', no_proxy: 'api.test' }, 'https://api.test'), 'a:1')
  t.equal(way({ HTTPS_PROXY: 'http://a:1' }, 'http://api.test'), 'directly')
  t.equal(way({ http_proxy: 'http://b:1' }, 'https://api.test'), 'b:1')
  t.equal(way({ HTTP_PROXY: 'http://b:1', HTTPS_PROXY: 'http://a:1' }, 'http://api.test'), 'b:1')
})

t.test('field F23: addresses of metadata services are refused before a proxy could be asked', async (t) => {
  for (const url of [
    'https://169.254.169.254/', 'https://metadata.google.internal/', 'https://metadata.google.internal./',
    'https://[fd00:ec2::254]/', 'https://[::ffff:169.254.169.254]/', 'https://2852039166/', 'http://100.100.100.200/'
  ]) for (const insecure of [false, true]) t.match(addressFault(url, insecure), /cloud metadata/, url)
  t.equal(addressFault('https://auth.test/'), undefined)
})

/** Answers over TLS as `api.test`. */
async function startTls (t: Test, answer: RequestListener) {
  const server = createServer(authority.issue({ name: 'api.test' }), answer).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  return server
}

/** Answers over TLS as `api.test`, behind a proxy that is the only one to know the name. */
async function startTarget (t: Test, options: Partial<ConnectProxyOptions> = {}) {
  const requests: string[] = []
  const server = await startTls(t, (request, response) => {
    requests.push(`${request.method} ${request.url} ${request.headers.authorization ?? ''}`)
    response.end('{"keys":[]}')
  })
  const { port } = server.address() as AddressInfo
  const proxy = await startConnectProxy(t, { ports: { 'api.test:443': port, 'other.test:443': port }, ...options })
  return { requests, server, proxy }
}

const OPTIONS = () => ({ signal: AbortSignal.timeout(5000), maxBytes: 1000, closes: true })

t.test('field F23: a proxy that opens no tunnel is an error with a code, in time', async (t) => {
  const { proxy, requests } = await startTarget(t, { login: LOGIN })
  const cases: [answer: string | null, code: string][] = [
    ['', 'PROXY_CLOSED'],
    ['HTTP/1.1 502 Bad Gateway\r\n\r\n', 'PROXY_502'],
    ['HTTP/1.1 302 Found\r\nLocation: https://evil.test/\r\n\r\n', 'PROXY_302'],
    ['HTTP/1.1 200 OK\r\n\r\nand more', 'PROXY_GARBAGE'],
    ['SSH-2.0-OpenSSH\r\n\r\n', 'PROXY_GARBAGE'],
    ['x'.repeat(20_000), 'PROXY_GARBAGE'],
    ['HTTP/1.1 200 OK\r\nX: ', 'PROXY_CLOSED']
  ]
  for (const [answer, code] of cases) {
    proxy.answer(answer)
    await t.rejects(openTunnel(new URL(proxy.url), 'api.test:443'), { code }, code)
  }
  proxy.answer(null)
  await t.rejects(openTunnel(new URL(proxy.url.replace(/canary/, 'wrong')), 'api.test:443'), { code: 'PROXY_407' })
  await t.rejects(openTunnel(new URL(`http://${proxy.host}`), 'api.test:443'), { code: 'PROXY_407' })
  await t.rejects(openTunnel(new URL(proxy.url), 'nowhere.test:443'), { code: 'PROXY_403' })
  await t.rejects(openTunnel(new URL(`http://127.0.0.1:${await freePort()}`), 'api.test:443'), { code: 'ECONNREFUSED' })
  const error = await createSender(proxiesOf({ HTTPS_PROXY: proxy.url }))('https://nowhere.test/', OPTIONS()).then(
    () => null, (error: OutboundError) => error
  )
  t.match(error, { code: 'unreachable', noResponse: true })
  t.equal(codeOf(error?.cause), 'PROXY_403')
  t.notMatch(String(error?.cause), /canary/)
  t.same(requests, [])
})

t.test('field F23: a proxy that hangs is given up', async (t) => {
  const server = createTcpServer((socket) => t.teardown(() => socket.destroy())).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => server.close())
  const { port } = server.address() as AddressInfo
  const startedAt = performance.now()
  await t.rejects(openTunnel(new URL(`http://127.0.0.1:${port}`), 'api.test:443'), { code: 'UND_ERR_CONNECT_TIMEOUT' })
  t.ok(performance.now() - startedAt < 4000)
})

t.test('field F23: a proxy that resets the connection has sent nothing on', async (t) => {
  const server = createTcpServer((socket) => socket.on('data', () => socket.resetAndDestroy())).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => server.close())
  const { port } = server.address() as AddressInfo
  await t.rejects(openTunnel(new URL(`http://127.0.0.1:${port}`), 'api.test:443'), { code: 'PROXY_CLOSED' })
})

t.test('field F23: https goes by CONNECT, with the login of the URL, and the proxy reads nothing of it', async (t) => {
  const { proxy, requests } = await startTarget(t, { login: LOGIN })
  const send = createSender(proxiesOf({ HTTPS_PROXY: proxy.url }))
  const headers = { authorization: 'Bearer canary' }
  for (const path of ['/a', '/b']) {
    t.equal((await send(`https://api.test${path}`, { ...OPTIONS(), headers })).status, 200)
  }
  t.same(requests, ['GET /a Bearer canary', 'GET /b Bearer canary'])
  t.same(proxy.requests, ['CONNECT api.test:443', 'CONNECT api.test:443'])
  t.same(proxy.credentials, [KNOWN, KNOWN])
  t.notMatch(proxy.seen(), /canary/)
  // The certificate must be that of the target, wherever the tunnel leads.
  const error = await send('https://other.test/', OPTIONS()).then(() => null, (error: OutboundError) => error)
  t.equal(codeOf(error?.cause), 'ERR_TLS_CERT_ALTNAME_INVALID')
  await t.rejects(send('https://api.test/', { ...OPTIONS(), isDirect: true }), { code: 'unreachable' })
  t.equal(proxy.requests.length, 3)
})

t.test('field F23: a proxy that is reached by https must prove who it is', async (t) => {
  const good = await startTarget(t, { certificate: authority.issue(), login: LOGIN })
  const send = createSender(proxiesOf({ HTTPS_PROXY: good.proxy.url }))
  t.equal((await send('https://api.test/', OPTIONS())).status, 200)
  for (const [certificate, code] of [
    [authority.issue({ name: 'proxy.test' }), 'PROXY_TLS'],
    [createAuthority('Stranger').issue(), 'UNABLE_TO_VERIFY_LEAF_SIGNATURE']
  ] as const) {
    const { proxy } = await startTarget(t, { certificate, login: LOGIN })
    await t.rejects(openTunnel(new URL(proxy.url), 'api.test:443'), { code })
    t.same(proxy.credentials, [], 'it never sees the login')
    await t.rejects(openTunnel(new URL(proxy.url.replace('localhost', '127.0.0.1')), 'api.test:443'), {
      code: /^(PROXY_TLS|UNABLE_TO_VERIFY_LEAF_SIGNATURE)$/
    })
  }
  for (const scheme of ['http', 'https']) {
    await t.rejects(openTunnel(new URL(`${scheme}://127.0.0.254`), 'api.test:443'), 'the usual port')
  }
})

t.test('field F23: plain http is handed to the proxy as a whole URL', async (t) => {
  const server = createPlainServer((request, response) => {
    response.end(JSON.stringify({ url: request.url, host: request.headers.host }))
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => server.close())
  const { port } = server.address() as AddressInfo
  const proxy = await startConnectProxy(t, { ports: { 'keys.test': port }, login: LOGIN })
  const send = createSender(proxiesOf({ HTTP_PROXY: proxy.url }))
  const { status, body } = await send('http://keys.test/jwks?a=b', OPTIONS())
  t.equal(status, 200)
  t.same(JSON.parse(String(body)), { url: '/jwks?a=b', host: 'keys.test' })
  t.same(proxy.requests, ['GET http://keys.test/jwks?a=b'])
  t.same(proxy.credentials, [KNOWN])
  const pool = openPool('http://keys.test', new URL(proxy.url), { connections: 1 })
  await (await pool.request({ method: 'GET', path: '/one' })).body.dump()
  t.equal(proxy.requests.at(-1), 'GET http://keys.test/one')
  await pool.close()
})

t.test('field F23: a WebSocket goes by CONNECT too', async (t) => {
  const { proxy, server } = await startTarget(t)
  const sockets = new WebSocketServer({ server })
  sockets.on('connection', (socket) => socket.on('message', (data) => socket.send(`heard ${data}`)))
  const agent = createTunnelAgent(new URL(proxy.url))
  const socket = new WebSocket('wss://api.test/v1/realtime', { agent })
  await once(socket, 'open')
  socket.send('hello')
  const [data] = await once(socket, 'message')
  t.equal(String(data), 'heard hello')
  socket.terminate()
  t.same(proxy.requests, ['CONNECT api.test:443'])
  const refused = new WebSocket('wss://nowhere.test:8443/', { agent })
  const [error] = await once(refused, 'error')
  t.equal(error.code, 'PROXY_403')
  t.equal(proxy.requests.at(-1), 'CONNECT nowhere.test:8443')
  const byAddress = new WebSocket('wss://[2001:db8::7]/', { agent })
  await once(byAddress, 'error')
  t.equal(proxy.requests.at(-1), 'CONNECT [2001:db8::7]:443')
})

/** An upstream that mints, as `api.test`. */
async function startMinting (t: Test, login?: string) {
  const requests: string[] = []
  const server = await startTls(t, async (request, response) => {
    const body = JSON.parse(Buffer.concat(await request.toArray()).toString() || '{}')
    requests.push(`${request.method} ${request.url} ${request.headers.authorization ?? ''}`)
    response.end(JSON.stringify(currentAnswer({ body } as Parameters<typeof currentAnswer>[0], 'ek_canary_secret')))
  })
  const { port } = server.address() as AddressInfo
  const proxy = await startConnectProxy(
    t, { ports: { 'api.test:443': port, 'api.test': port }, ...(login === undefined ? {} : { login }) }
  )
  return { requests, proxy }
}

t.test('field F23: what a proxy refuses was never sent, is given back, and its password is in no line', async (t) => {
  const { proxy, requests } = await startMinting(t, LOGIN)
  const app = await startApp(t, {
    env: { OPENAI_BASE_URL: 'https://api.test/v1', HTTPS_PROXY: proxy.url.replace('us%40er', 'stranger') }
  })
  t.equal((await app.mint('client_secrets')).status, 503)
  t.same(lastDecision(app), { event: 'mint.refused', code: 'upstream_unavailable', reason: 'proxy_407' })
  t.same(requests, [])
  for (const line of [...app.log.kept, ...app.audit.kept]) t.notMatch(line, /canary-proxy|ecret@|stranger/)
  t.match(app.logLines().find(({ msg }) => msg === 'waiting for a connection to upstream'), { proxy: proxy.host })
})

t.test('field F23: mints go by the proxy, with the key inside the tunnel', async (t) => {
  const { proxy, requests } = await startMinting(t, LOGIN)
  const app = await startApp(t, { env: { OPENAI_BASE_URL: 'https://api.test/v1', HTTPS_PROXY: proxy.url } })
  for (let i = 0; i < 3; i++) {
    t.equal((await app.request('/v1/realtime/client_secrets', {
      method: 'POST', headers: { authorization: `Bearer ${await app.token()}` }
    })).status, 200)
  }
  t.same(requests, Array(3).fill(`POST /v1/realtime/client_secrets Bearer ${CANARIES.OPENAI_API_KEY}`))
  t.same(proxy.requests, ['CONNECT api.test:443'], 'one tunnel, kept')
  t.notMatch(proxy.seen(), new RegExp(CANARIES.OPENAI_API_KEY))
})

t.test('field F23: a mint by plain http goes by HTTP_PROXY, and one to loopback by none', async (t) => {
  const upstream = await startUpstream(t)
  const proxy = await startConnectProxy(t, { ports: { 'gateway.test': Number(new URL(upstream.url).port) } })
  const env = { HTTP_PROXY: proxy.url, HTTPS_PROXY: proxy.url }
  const local = await startApp(t, { upstream, env })
  t.equal((await local.mint('client_secrets')).status, 200)
  t.same(proxy.requests, [])
  const app = await startApp(t, {
    upstream, env: { ...env, OPENAI_BASE_URL: 'http://gateway.test/v1', OPENAI_ALLOW_HTTP: 'true' }
  })
  t.equal((await app.mint('client_secrets')).status, 200)
  t.same(proxy.requests, ['POST http://gateway.test/v1/realtime/client_secrets'])
  await app.close()
})

t.test('field F23: keys, introspection and forward go by the proxy; forward by plain http does not', async (t) => {
  const answers: Record<string, unknown> = {
    '/.well-known/openid-configuration': { issuer: 'https://api.test/', jwks_uri: 'https://api.test/jwks' },
    '/me': { id: 'ada', plan: 'pro' },
    '/introspect': { active: true, sub: 'ada', plan: 'pro' }
  }
  const server = await startTls(t, (request, response) => {
    response.end(JSON.stringify(answers[String(request.url)] ?? {}))
  })
  const proxy = await startConnectProxy(t, { ports: { 'api.test:443': (server.address() as AddressInfo).port } })
  const policy = POLICY.replace(CALLERS, `callers:
  - jwt: { issuer: 'https://api.test/', audience: voice }
  - introspection: { issuer: as, url: 'https://api.test/introspect', client_id: mint, client_secret_env: TOKEN_SECRET }
  - forward: { issuer: app, url: 'https://api.test/me', header: x-session, pass: [x-session], subject: /id }
  - forward:
      issuer: plain
      url: http://plain.test/me
      header: x-plain
      pass: [x-plain]
      subject: /id
      insecure_http: true
`)
  const app = await startApp(t, { policy, env: { HTTPS_PROXY: proxy.url, HTTP_PROXY: proxy.url } })
  t.ok(proxy.requests.length > 0 && proxy.requests.every((line) => line === 'CONNECT api.test:443'), 'keys too')
  const tunnels = proxy.requests.length
  const ask = async (headers: Record<string, string>) => (await app.request('/v1/realtime/policy', { headers })).status
  t.equal(await ask({ authorization: 'Bearer opaque' }), 200)
  t.equal(await ask({ 'x-session': 'one' }), 200)
  t.ok(proxy.requests.length > tunnels)
  const count = proxy.requests.length
  t.equal(await ask({ 'x-plain': 'one' }), 503)
  t.equal(proxy.requests.length, count, 'a credential in the clear is not for a proxy')
})
