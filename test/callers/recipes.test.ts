import { Ajv2020 } from 'ajv/dist/2020.js'
import t from 'tap'
import { parse } from 'yaml'
import { isUserWritable } from '../../src/callers/claims.ts'
import type { KeySource } from '../../src/callers/jwks.ts'
import { CallerEntry } from '../../src/callers/schema.ts'
import { compileWhen } from '../../src/policy/select.ts'
import { createSigner, forge, forgeHmac } from './forge.ts'
import { assertPassed, assertRefused, bearer, NOW, serve } from './harness.ts'
import { COOKIE_APP, RECIPES } from './recipes.ts'

const SECRETS = { SUPABASE_JWT_SECRET: 'super-secret-jwt-token-with-at-least-32-characters' }
const signers = { RS256: createSigner('RS256'), ES256: createSigner('ES256') }
const isEntry = new Ajv2020({ strict: false }).compile<CallerEntry>(CallerEntry)

function entryOf (yaml: string): CallerEntry {
  const entries: unknown[] = parse(yaml)
  t.equal(entries.length, 1)
  t.ok(isEntry(entries[0]), yaml)
  return entries[0] as CallerEntry
}

for (const { name, callers, when, keys, alg, header, claims, wrong } of RECIPES) {
  t.test(`recipe: ${name}`, async (t) => {
    const sources: KeySource[] = []
    const { ask } = await serve(t, [entryOf(callers)], {
      secrets: SECRETS,
      keySets: (source) => {
        sources.push(source)
        return {
          issuer: source.issuer,
          find: async ({ alg, kid }) => alg === 'RS256' || alg === 'ES256' ? [signers[alg].publicKey] : [],
          wasFetched: () => true,
          ageMs: () => 0,
          open: async () => {},
          close: () => {}
        }
      }
    })
    t.equal(sources[0]?.jwks ?? 'discovery', keys)
    const issue = (changes: object = {}) => {
      const all = { iat: NOW, exp: NOW + 3600, ...claims, ...changes }
      return alg === 'HS256'
        ? forgeHmac(SECRETS.SUPABASE_JWT_SECRET, all, header)
        : forge({ ...signers[alg], kid: header.kid as string }, all, header)
    }
    for (const changes of wrong) {
      const answer = await ask(bearer(issue(changes)))
      assertRefused(t, answer, answer.reason as string, JSON.stringify(changes))
    }
    const answer = await ask(bearer(issue()))
    assertPassed(t, answer, { issuer: claims.iss as string, subject: claims.sub as string })
    t.ok(compileWhen(when as never)(answer.caller!), 'a paying user')
    const [claim = ''] = Object.keys(when)
    t.notOk(compileWhen({ [claim]: 'another plan' })(answer.caller!), 'is not of another plan')
    t.notOk(isUserWritable(claim))
  })
}

t.test('recipe: an app with cookie sessions', async (t) => {
  const { callers } = await serve(t, [entryOf(COOKIE_APP)])
  t.equal(callers.usesCookies, true)
})
