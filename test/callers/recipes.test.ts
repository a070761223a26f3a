import { Ajv2020 } from 'ajv/dist/2020.js'
import t from 'tap'
import { parse } from 'yaml'
import { isUserWritable } from '../../src/callers/claims.ts'
import type { KeySource } from '../../src/callers/jwks.ts'
import { CallerEntry, type ForwardEntry } from '../../src/callers/schema.ts'
import { compileWhen } from '../../src/policy/select.ts'
import { startHostileIssuer } from '../support/hostile-issuer.ts'
import { createSigner, forge, forgeHmac } from './forge.ts'
import { assertPassed, assertRefused, bearer, NOW, type SentHeaders, serve, SITE } from './harness.ts'
import { ENDPOINT_RECIPES, RECIPES } from './recipes.ts'

const SECRETS = { SUPABASE_JWT_SECRET: 'super-secret-jwt-token-with-at-least-32-characters' }
const signers = { RS256: createSigner('RS256'), ES256: createSigner('ES256'), ES384: createSigner('ES384') }
const isEntry = new Ajv2020({ strict: false }).compile<CallerEntry>(CallerEntry)

function entryOf (yaml: string): CallerEntry {
  const entries: unknown[] = parse(yaml)
  t.equal(entries.length, 1)
  t.ok(isEntry(entries[0]), yaml)
  return entries[0] as CallerEntry
}

for (const { name, callers, when, keys, alg, header, sentIn, subject = 'sub', claims, right = [], wrong } of RECIPES) {
  t.test(`recipe: ${name}`, async (t) => {
    const sources: KeySource[] = []
    // With the lines that the recipe comments out, too.
    const { callers: compiled, ask } = await serve(t, [entryOf(callers.replace('# cookie:', 'cookie:'))], {
      secrets: SECRETS,
      keySets: (source) => {
        sources.push(source)
        return {
          issuer: source.issuer,
          find: async ({ alg, kid }) => alg in signers ? [signers[alg as keyof typeof signers].publicKey] : [],
          wasFetched: () => true,
          ageMs: () => 0,
          open: async () => {},
          close: () => {}
        }
      }
    })
    t.equal(sources[0]?.jwks ?? 'discovery', keys)
    const issue = (changes: object = {}): SentHeaders => {
      const all = { iat: NOW, exp: NOW + 3600, ...claims, ...changes }
      const token = alg === 'HS256'
        ? forgeHmac(SECRETS.SUPABASE_JWT_SECRET, all, header)
        : forge({ ...signers[alg], kid: header.kid as string }, all, header)
      return sentIn === undefined ? bearer(token) : [[sentIn, token]]
    }
    const [, cookie] = /cookie: (\S+)/.exec(callers) ?? []
    t.equal(compiled.usesCookies, cookie !== undefined)
    if (cookie !== undefined) {
      const sent = issue()
      const copy = ['cookie', `${cookie}=${sent[0]?.[1].replace('Bearer ', '')}`] as const
      assertPassed(t, await ask([...sent, copy, ['origin', SITE]]), { issuer: claims.iss as string })
      assertPassed(t, await ask([copy, ['origin', SITE]]), { issuer: claims.iss as string })
    }
    for (const changes of wrong) {
      const answer = await ask(issue(changes))
      assertRefused(t, answer, answer.reason as string, JSON.stringify(changes))
    }
    for (const changes of [...right, {}]) {
      const answer = await ask(issue(changes))
      assertPassed(t, answer, { issuer: claims.iss as string, subject: claims[subject] as string })
      t.ok(compileWhen(when as never)(answer.caller!), 'a paying user')
      const [claim = ''] = Object.keys(when)
      t.notOk(compileWhen({ [claim]: 'another plan' })(answer.caller!), 'is not of another plan')
      t.notOk(isUserWritable(claim))
    }
  })
}

for (const { name, callers, when, cookies, answer, subject, refused } of ENDPOINT_RECIPES) {
  t.test(`recipe: ${name}`, async (t) => {
    let next = answer
    const app = await startHostileIssuer(t, (response) => {
      response.writeHead(next.status, { 'content-type': 'application/json', ...next.headers }).end(next.body)
    })
    const { forward } = entryOf(callers) as { forward: ForwardEntry }
    const { callers: compiled, ask } = await serve(
      t, [{ forward: { ...forward, url: app.url + new URL(forward.url).pathname } }, { guest: {} }]
    )
    t.equal(compiled.usesCookies, true)
    const sign = (names: readonly string[], value: string): SentHeaders => {
      const sent = names.map((name, i) => `${name}=${value}-${i}`)
      return [['cookie', ['theme=dark', ...sent].join('; ')], ['origin', SITE]]
    }
    for (const [i, one] of refused.entries()) {
      next = one
      assertRefused(
        t, await ask(sign(cookies[0] ?? [], `refused-${i}`)), one.status === 200 || one.status === 202
          ? 'app_named_no_subject'
          : 'app_refused'
      )
    }
    next = answer
    for (const [i, names] of cookies.entries()) {
      const passed = await ask(sign(names, `signed-in-user-${i}`))
      assertPassed(t, passed, { issuer: forward.issuer, subject })
      const sent = names.map((name, j) => `${name}=signed-in-user-${i}-${j}`).join('; ')
      t.equal(app.requests.at(-1)?.headers.cookie, sent)
      t.equal(when === null || compileWhen(when as never)(passed.caller!), true, 'a paying user')
    }
  })
}
