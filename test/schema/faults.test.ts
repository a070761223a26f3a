// Faults of a file by its schema: where they are, and what to write instead. Never a value.

import { Ajv2020 } from 'ajv/dist/2020.js'
import fc from 'fast-check'
import t from 'tap'
import Type from 'typebox'
import { Check } from 'typebox/value'
import { PolicyFile } from '../../src/policy/schema.ts'
import { faultFinder } from '../../src/schema/faults.ts'
import { describeSchema, type SchemaNode } from '../../src/schema/schema-text.ts'
import { times } from '../support/times.ts'

const findFaults = faultFinder(PolicyFile)
const policy = { name: 'p', when: 'any', limits: 'none', realtime: {} }

function problemsOf (file: object): string[] {
  return findFaults({ callers: [{ guest: {} }], policies: [policy], ...file }).map(
    ({ path, problem }) => `${path.join('.')} ${problem}`
  )
}

t.test('fault 42: each fault names what to write instead', async (t) => {
  const policies = (changes: object) => ({ policies: [{ ...policy, ...changes }] })
  const rows: [file: object, line: string][] = [
    [{ polices: [] }, 'polices is not a known key: allowed here are callers, prompts, policies, blocked'],
    [{ callers: [{ guest: { canary: 1 } }] }, 'callers.0.guest.canary is not a known key: no keys are allowed here'],
    [{ callers: [{}] }, 'callers.0 must not be empty: add jwt, forward, introspection, gateway, guest'],
    [
      { callers: [{ guest: {}, jwt: { issuer: 'i' } }] },
      'callers.0 must have exactly one key: make each an entry of its own'
    ],
    [
      { callers: [{ jwt: {} }] },
      'callers.0.jwt.issuer is missing: Exactly as in the token\'s iss. Its discovery document names the keys.'
    ],
    [
      { callers: [{ jwt: { issuer: 'i', algorithms: ['none'] } }] },
      'callers.0.jwt.algorithms.0 must be one of ' +
        'RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, ES512, EdDSA, HS256, HS384, HS512, Ed25519'
    ],
    [policies({ when: 'canary' }), 'policies.0.when must be one of: "any" or "guest" or object'],
    [
      policies({ limits: 'canary' }),
      'policies.0.limits must be one of: "none" or { minute, hour, day, call_seconds, total }'
    ],
    [policies({ deny: false }), 'policies.0.deny must be true'],
    [
      policies({ realtime: { allow: {} } }),
      'policies.0.realtime.allow must not be empty: omit it, or add something'
    ],
    [
      policies({ realtime: { allow: { 'a..b': true } } }),
      'policies.0.realtime.allow.a..b is no dotted path such as audio.output.voice'
    ],
    [
      policies({ realtime: { hide: [] } }),
      'policies.0.realtime.hide must not be empty: omit it, or add something'
    ],
    [
      policies({ realtime: { hide: ['.canary'] } }),
      'policies.0.realtime.hide.0 has the wrong form: A dotted path such as audio.output.voice.'
    ],
    [policies({ realtime: { expires_after: { max: 9 } } }), 'policies.0.realtime.expires_after.max must be >= 10'],
    [{ blocked: [{ issuer: 'i' }] }, 'blocked.0.subject must have property subject when property issuer is present']
  ]
  for (const [file, line] of rows) t.same(problemsOf(file), [line])
  t.same(problemsOf({}), [])
})

t.test('fault 42: without a description, a fault describes the schema', async (t) => {
  const find = faultFinder(
    Type.Object({ a: Type.Integer({ minimum: 1, maximum: 9 }), b: Type.String({ pattern: '^x' }) })
  )
  t.same(
    find({ b: 'canary' }).map(({ problem }) => problem),
    ['is missing: integer from 1 to 9', 'has the wrong form: ^x']
  )
})

t.test('fault 42: a schema is described in a few words', async (t) => {
  const rows: [SchemaNode, string][] = [
    [{}, 'anything'],
    [{ type: 'number', minimum: 0 }, 'number from 0'],
    [{ type: 'array', items: { enum: ['text', 'audio'] } }, 'a list of "text" or "audio"'],
    [{ anyOf: [{ type: 'null' }, { anyOf: [{ type: 'string' }, { type: 'null' }] }] }, 'null or string']
  ]
  for (const [node, description] of rows) t.equal(describeSchema(node), description)
})

t.test('fault 42: the fast check passes exactly the files without faults', async () => {
  const good = {
    callers: [
      { jwt: { issuer: 'i', audience: ['a'], algorithms: ['RS256'], require: { plan: 'pro' }, clock_tolerance: 5 } }
    ],
    policies: [{
      ...policy,
      when: { plan: ['pro'] },
      limits: { minute: 1, total: { day: 5 } },
      realtime: {
        fixed: { model: 'm' }, allow: { 'audio.output.speed': true }, hide: ['tools'], expires_after: { max: 60 }
      }
    }],
    blocked: [{ issuer: 'i', subject: 's' }]
  }
  const hasNone = new Ajv2020({ strict: false, logger: false }).compile(PolicyFile)
  const placesIn = (value: unknown): string[][] => typeof value === 'object' && value !== null
    ? Object.entries(value).flatMap(([key, inner]) => [[key], ...placesIn(inner).map((path) => [key, ...path])])
    : []
  const anything = fc.oneof(
    fc.jsonValue({ maxDepth: 2 }),
    fc.constantFrom('', 'x'.repeat(255), 'x'.repeat(256), -1, 10, 301, 1.5, [], {}, 'any', 'none')
  )
  fc.assert(fc.property(fc.constantFrom(...placesIn(good)), anything, fc.option(fc.string()), (path, value, name) => {
    const file = structuredClone(good)
    const parent: Record<string, unknown> = path.slice(0, -1).reduce<any>((at, key) => at[key], file)
    if (name === null || Array.isArray(parent)) parent[path.at(-1) as string] = value
    else Object.defineProperty(parent, name, { value, enumerable: true })
    return Check(PolicyFile, file) === hasNone(file)
  }), { numRuns: times(100) })
})
