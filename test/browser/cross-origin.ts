// A page of another site mints: what any browser must be able to do, and what it must not.

import type { IncomingMessage } from 'node:http'
import type { Test } from 'tap'
import { type App, startApp } from '../support/app.ts'
import { GA } from '../support/upstream.ts'
import { servePages } from './app-page.ts'

/** Evaluates an expression in that page, and returns its JSON value. */
export type Evaluate = (url: string, expression: string) => Promise<unknown>

type Site = Readonly<{
  app: App
  /** URLs of a page whose origin is allowed, and of one whose origin is not. */
  page: string
  foreignPage: string
  /** The names that preflights have asked for, sorted. */
  preflights: string[][]
}>

const TRACING = ['baggage', 'sentry-trace', 'traceparent', 'tracestate', 'x-requested-with']
const TRACE_HEADERS = {
  baggage: 'sentry-environment=production',
  'sentry-trace': `${'a'.repeat(32)}-${'b'.repeat(16)}-1`,
  traceparent: `00-${'a'.repeat(32)}-${'b'.repeat(16)}-01`,
  tracestate: 'vendor=value',
  'X-Requested-With': 'XMLHttpRequest'
}
const EXPLAINED = 'error => ({ name: error.constructor.name, status: error.status, code: error.code })'

/** Each test has its own, since browsers remember the answers of preflights. */
async function startSite (t: Test): Promise<Site> {
  // Another site: neither host nor port is the service's.
  const [page, foreignPage] = (await Promise.all([servePages(t), servePages(t)])).map(
    (url) => url.replace('127.0.0.1', 'localhost')
  ) as [string, string]
  const app = await startApp(t, { env: { CORS_ORIGINS: page, OPENAI_MINT_API: 'client_secrets' } })
  const preflights: string[][] = []
  app.server.on('request', ({ method, headers }: IncomingMessage) => {
    if (method !== 'OPTIONS') return
    preflights.push((headers['access-control-request-headers'] ?? '').split(',').map((name) => name.trim()).sort())
  })
  return { app, page, foreignPage, preflights }
}

/** The names of the tests, each with its body. `asked`: what each way asks for in its preflight. */
export function crossOriginTests (evaluate: () => Promise<Evaluate>, asked: Readonly<Record<string, string[]>> = {}) {
  const byFetch = async (app: App, headers: object, token?: string) => `(async () => {
    const response = await fetch('${app.url}/v1/realtime/client_secrets', {
      method: 'POST',
      headers: {
        Authorization: 'Bearer ${token ?? await app.token()}',
        'Content-Type': 'application/json',
        ...${JSON.stringify(headers)}
      },
      body: '{}'
    })
    const { value, error } = await response.json()
    const read = (name) => response.headers.get(name)
    return {
      status: response.status, value, code: error?.code,
      at: read('X-Realtime-Url'), remaining: read('RateLimit-Remaining'), id: read('X-Request-Id')
    }
  })()`
  const byPackage = async (name: string, app: App, headers: object, token?: string) => `(async () => {
    const { default: OpenAI } = await import('${name}')
    const client = new OpenAI({
      baseURL: '${app.url}/v1', apiKey: '${token ?? await app.token()}', dangerouslyAllowBrowser: true, maxRetries: 0,
      defaultHeaders: ${JSON.stringify(headers)}
    })
    const { data, response, request_id } = await client.realtime.clientSecrets
      .create({ session: { type: 'realtime', audio: { output: { voice: 'cedar' } } } }).withResponse()
    return {
      status: response.status, value: data.value, id: request_id,
      at: response.headers.get('X-Realtime-Url'), remaining: response.headers.get('RateLimit-Remaining')
    }
  })().catch(${EXPLAINED})`
  const minted = ({ upstream, auditLines }: App) => ({
    status: 200,
    value: upstream.secrets.at(-1),
    at: /\/realtime\/calls$/,
    remaining: /^\d+$/,
    id: auditLines().at(-1)?.request_id
  })
  const ways = {
    'the openai package, version 7': byPackage.bind(null, 'openai'),
    'the openai package, version 6': byPackage.bind(null, 'openai-6'),
    fetch: byFetch
  }

  const assertAsked = (t: Test, { preflights }: Site, headers: readonly string[]) => {
    for (const header of headers) t.ok(preflights.at(-1)?.includes(header), header)
  }

  const tests: Record<string, (t: Test) => Promise<void>> = {
    'C5: a page of an origin that is not allowed mints nothing and reads nothing': async (t) => {
      const [{ app, foreignPage }, run] = [await startSite(t), await evaluate()]
      const sentBefore = app.upstream.requests.length
      for (const [name, way] of Object.entries(ways)) {
        const expression = `${await way(app, {})}.catch(${EXPLAINED})`
        t.match(await run(foreignPage, expression), { name: /^(TypeError|APIConnectionError)$/ }, name)
      }
      t.equal(app.upstream.requests.length, sentBefore)
    },
    'a header that is not allowed stops a request before it is sent': async (t) => {
      const [site, run] = [await startSite(t), await evaluate()]
      const { app, page } = site
      const linesBefore = app.auditLines().length
      for (const [name, way] of Object.entries(ways)) {
        const expression = `${await way(app, { 'X-Forwarded-User': 'root' })}.catch(${EXPLAINED})`
        t.match(await run(page, expression), { name: /^(TypeError|APIConnectionError)$/ }, name)
        assertAsked(t, site, ['x-forwarded-user'])
      }
      t.equal(app.auditLines().length, linesBefore)
    },
    'a page can read why it was refused': async (t) => {
      const [{ app, page }, run] = [await startSite(t), await evaluate()]
      t.match(await run(page, await byFetch(app, {}, 'x')), { status: 401, code: 'invalid_credentials', id: String })
      for (const name of ['openai', 'openai-6']) {
        t.match(await run(page, await byPackage(name, app, {}, 'x')), {
          name: 'AuthenticationError', status: 401, code: 'invalid_credentials'
        }, name)
      }
    }
  }
  for (const [name, way] of Object.entries(ways)) {
    tests[`field F17: a page of another site mints by ${name}`] = async (t) => {
      const [site, run] = [await startSite(t), await evaluate()]
      const { app, page } = site
      const answer = await run(page, await way(app, {}))
      t.match(answer, minted(app))
      assertAsked(t, site, ['authorization', ...asked[name] ?? []])
      t.equal(app.upstream.requests.at(-1)?.path, GA)
    }
    tests[`field F17: and by ${name} in a page that is traced`] = async (t) => {
      const [site, run] = [await startSite(t), await evaluate()]
      const { app, page } = site
      const answer = await run(page, await way(app, TRACE_HEADERS))
      t.match(answer, minted(app))
      assertAsked(t, site, TRACING)
    }
  }
  return tests
}
