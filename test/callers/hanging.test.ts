// An issuer that hangs holds up nobody but its own users, whatever is asked of it.

import { setInterval as every } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { CALLERS, CANARIES, POLICY, startApp, type App } from '../fakes/app.ts'
import { answers, startHostileIssuer } from '../fakes/hostile-issuer.ts'
import { until } from '../fakes/until.ts'
import { createSigner, encode } from './forge.ts'
import { assertPassed, assertUnavailable, bearer, serve } from './harness.ts'

const SECONDS = 3
const TICKS_A_SECOND = 30
const A_TICK = 20
const HANGING = 'https://hanging.test/'
const known = createSigner('ES256', 'known')

type Kind = Readonly<{ entry: (url: string) => string, headers: (i: number) => Record<string, string>, maxAsked: number }>

const KINDS: Record<string, Kind> = {
  'edge M3b: an introspection endpoint that hangs under 600 tokens a second': {
    entry: (url) => `introspection: { issuer: '${HANGING}', url: '${url}', client_id: me, client_secret_env: TOKEN_SECRET }`,
    headers: (i) => ({ authorization: `Bearer opaque-${i}` }),
    maxAsked: 128
  },
  'edge M3b: an endpoint of the app that hangs under 600 requests a second, all with one cookie': {
    entry: (url) => `forward: { issuer: '${HANGING}', url: '${url}', header: x-session, pass: [x-session], subject: /id }`,
    headers: () => ({ 'x-session': 'the-same-session' }),
    maxAsked: 2
  },
  'edge M3c: a key set that hangs under 600 tokens with unknown keys a second': {
    entry: (url) => `jwt: { issuer: '${HANGING}', audience: voice, jwks: '${url}' }`,
    headers: (i) => ({ authorization: `Bearer ${encode({ alg: 'ES256', kid: `unknown-${i}` })}.${encode({ iss: HANGING, sub: 'u' })}.AAAA` }),
    maxAsked: 2
  }
}

async function flood (app: App, headers: Kind['headers'], mintOfOthers: (i: number) => Promise<void>): Promise<Set<string>> {
  const codes = new Set<string>()
  const asked: Promise<void>[] = []
  let ticks = 0
  for await (const _ of every(1000 / TICKS_A_SECOND)) {
    if (ticks === SECONDS * TICKS_A_SECOND) break
    asked.push(mintOfOthers(ticks))
    for (let i = 0; i < A_TICK; i++) {
      asked.push(app.request('/v1/realtime/client_secrets', { method: 'POST', headers: headers(ticks * A_TICK + i) }).then(({ status, body }) => {
        codes.add(`${status} ${(body.error as { code: string }).code}`)
      }))
    }
    ticks++
  }
  await Promise.all(asked)
  return codes
}

for (const [name, { entry, headers, maxAsked }] of Object.entries(KINDS)) {
  t.test(`${name} takes no mint from the users of another issuer`, async (t) => {
    const hanging = await startHostileIssuer(t, answers({ keys: [known.jwk] }))
    const app = await startApp(t, { policy: POLICY.replace(CALLERS, `${CALLERS}  - ${entry(hanging.url)}\n`), env: { UPSTREAM_CONCURRENCY: '50' } })
    hanging.behave(() => {})
    const refused: unknown[] = []
    const codes = await flood(app, headers, async (i) => {
      const { status, text } = await app.mint('client_secrets', undefined, { authorization: `Bearer ${await app.token({ sub: `user-${i}` })}` })
      if (status !== 200) refused.push(text)
    })
    t.same(refused, [])
    t.same(codes, new Set(['503 identity_unavailable']))
    t.ok(hanging.asked.length <= maxAsked, `${hanging.asked.length} questions`)
  })
}

async function startChecked (t: Test) {
  const issuer = await startHostileIssuer(t, () => {})
  const introspection = { issuer: HANGING, url: issuer.url, client_id: 'me', client_secret_env: 'CLIENT' }
  const forward = { issuer: 'app', url: issuer.url, header: 'x-session', pass: ['x-session'], subject: '/sub' }
  return { issuer, ...await serve(t, [{ introspection }, { forward }], { secrets: { CLIENT: CANARIES.TOKEN_SECRET } }) }
}

t.test('edge M3b: each checker has a bound of its own, and what is beyond it is refused at once', async (t) => {
  const { issuer, ask } = await startChecked(t)
  const waiting = Array.from({ length: 64 }, (_, i) => ask(bearer(`opaque-${i}`)))
  await until('all of them to be asked about', () => issuer.asked.length === 64)
  const answer = await ask(bearer('one-more'))
  assertUnavailable(t, answer, 'checker_busy')
  t.equal(answer.headers['retry-after'], '1')
  const other = ask([['x-session', 'a']])
  await until('the other one to be asked', () => issuer.asked.length === 65)
  await issuer.close()
  for (const { status } of await Promise.all([...waiting, other])) t.equal(status, 503)
})

t.test('edge M3b: one probe, and nobody waits for it', async (t) => {
  const { issuer, ask, clock } = await startChecked(t)
  issuer.behave((response) => { response.destroy() })
  for (let i = 0; i < 5; i++) assertUnavailable(t, await ask(bearer(`opaque-${i}`)), 'checker_unreachable')
  let release = () => {}
  issuer.behave((response, request) => { release = () => answers({ active: true, sub: 'u' })(response, request) })
  await clock.advance(5000)
  const probe = ask(bearer('probe'))
  await until('the probe', () => issuer.asked.length === 6)
  for (let i = 0; i < 5; i++) assertUnavailable(t, await ask(bearer(`other-${i}`)), 'checker_paused')
  t.equal(issuer.asked.length, 6)
  release()
  t.equal((await probe).status, 200)
  issuer.behave(answers({ active: true, sub: 'u' }))
  assertPassed(t, await ask(bearer('other')), { subject: 'u' })
})
