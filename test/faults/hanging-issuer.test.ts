// An issuer that hangs delays only its own users.

import { setTimeout as wait } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { Agent, request } from 'undici'
import { createSigner, encode } from '../callers/forge.ts'
import { assertPassed, assertUnavailable, bearer, serve } from '../callers/harness.ts'
import { CALLERS, CANARIES, POLICY, startApp } from '../support/app.ts'
import { answers, startHostileIssuer } from '../support/hostile-issuer.ts'
import { until } from '../support/until.ts'

const SECONDS = 1
const TICKS_A_SECOND = 30
const A_TICK = 20
const HANGING = 'https://hanging.test/'
const known = createSigner('ES256', 'known')

type Kind = Readonly<{
  entry: (url: string) => string
  headers: (i: number) => Record<string, string>
}>

const KINDS: Record<string, Kind> = {
  'edge M3b: an introspection endpoint that hangs under 600 tokens a second': {
    entry: (url) =>
      `introspection: { issuer: '${HANGING}', url: '${url}', client_id: me, client_secret_env: TOKEN_SECRET }`,
    headers: (i) => ({ authorization: `Bearer opaque-${i}` })
  },
  'edge M3b: an endpoint of the app that hangs under 600 requests a second, all with one cookie': {
    entry: (url) =>
      `forward: { issuer: '${HANGING}', url: '${url}', header: x-session, pass: [x-session], subject: /id }`,
    headers: () => ({ 'x-session': 'the-same-session' })
  },
  'edge M3c: a key set that hangs under 600 tokens with unknown keys a second': {
    entry: (url) => `jwt: { issuer: '${HANGING}', audience: voice, jwks: '${url}' }`,
    headers: (i) => {
      const [header, claims] = [{ alg: 'ES256', kid: `unknown-${i}` }, { iss: HANGING, sub: 'u' }].map(encode)
      return { authorization: `Bearer ${header}.${claims}.AAAA` }
    }
  }
}

async function flood (
  url: string, headers: Kind['headers'], mintOfOthers: (i: number) => Promise<void>
): Promise<Set<string>> {
  const dispatcher = new Agent()
  const codes = new Set<string>()
  const asked: Promise<void>[] = []
  const ask = async (i: number) => {
    const { statusCode, body } = await request(url, { dispatcher, method: 'POST', headers: headers(i) })
    const { error } = await body.json() as { error: { code: string } }
    codes.add(`${statusCode} ${error.code}`)
  }
  for (let ticks = 0; ticks < SECONDS * TICKS_A_SECOND; ticks++) {
    asked.push(mintOfOthers(ticks))
    for (let i = 0; i < A_TICK; i++) asked.push(ask(ticks * A_TICK + i))
    await wait(1000 / TICKS_A_SECOND)
  }
  await Promise.all(asked)
  await dispatcher.close()
  return codes
}

for (const [name, { entry, headers }] of Object.entries(KINDS)) {
  t.test(`${name} takes no mint from the users of another issuer`, async (t) => {
    const hanging = await startHostileIssuer(t, answers({ keys: [known.jwk] }))
    const app = await startApp(
      t,
      { policy: POLICY.replace(CALLERS, `${CALLERS}  - ${entry(hanging.url)}\n`), env: { UPSTREAM_CONCURRENCY: '50' } }
    )
    hanging.behave(() => {})
    const refused: unknown[] = []
    const codes = await flood(`${app.url}/v1/realtime/client_secrets`, headers, async (i) => {
      const { status, text } = await app.mint(
        'client_secrets', undefined, { authorization: `Bearer ${await app.token({ sub: `user-${i}` })}` }
      )
      if (status !== 200) refused.push(text)
    })
    t.same(refused, [])
    t.same(codes, new Set(['503 identity_unavailable']))
  })
}

async function startChecked (t: Test) {
  const issuer = await startHostileIssuer(t, () => {})
  const introspection = { issuer: HANGING, url: issuer.url, client_id: 'me', client_secret_env: 'CLIENT' }
  const forward = { issuer: 'app', url: issuer.url, header: 'x-session', pass: ['x-session'], subject: '/sub' }
  return { issuer, ...await serve(t, [{ introspection }, { forward }], { secrets: { CLIENT: CANARIES.TOKEN_SECRET } }) }
}

t.test('edge M3b: each checker has its own bound, and requests beyond it are refused at once', async (t) => {
  const { issuer, ask } = await startChecked(t)
  const waiting = Array.from({ length: 64 }, (_, i) => ask(bearer(`opaque-${i}`)))
  await until('all of them to be asked about', () => issuer.requests.length === 64)
  const answer = await ask(bearer('one-more'))
  assertUnavailable(t, answer, 'checker_busy')
  t.equal(answer.headers['retry-after'], '1')
  const other = ask([['x-session', 'a']])
  await until('the other one to be asked', () => issuer.requests.length === 65)
  await issuer.close()
  for (const { status } of await Promise.all([...waiting, other])) t.equal(status, 503)
})

t.test('edge M3b: a single probe is sent, and no other request waits for it', async (t) => {
  const { issuer, ask, clock } = await startChecked(t)
  issuer.behave((response) => { response.destroy() })
  for (let i = 0; i < 5; i++) assertUnavailable(t, await ask(bearer(`opaque-${i}`)), 'checker_unreachable')
  let release = () => {}
  issuer.behave((response, request) => { release = () => answers({ active: true, sub: 'u' })(response, request) })
  await clock.advance(5000)
  const probe = ask(bearer('probe'))
  await until('the probe', () => issuer.requests.length === 6)
  for (let i = 0; i < 5; i++) assertUnavailable(t, await ask(bearer(`other-${i}`)), 'checker_paused')
  t.equal(issuer.requests.length, 6)
  release()
  t.equal((await probe).status, 200)
  issuer.behave(answers({ active: true, sub: 'u' }))
  assertPassed(t, await ask(bearer('other')), { subject: 'u' })
})
