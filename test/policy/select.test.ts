import t from 'tap'
import { type Caller, createCaller, GUEST_ISSUER } from '../../src/callers/caller.ts'
import { ApiError } from '../../src/errors.ts'
import type { Json, JsonObject } from '../../src/json.ts'
import type { Policies, Policy } from '../../src/policy/policy.ts'
import { selectPolicy } from '../../src/policy/select.ts'
import { lines, readPolicy } from './harness.ts'

const IDENTIFIER = 'ab'.repeat(32)

function policiesOf (policies: Json[], blocked?: Json[]): Policies {
  const reading = readPolicy(JSON.stringify({ callers: [{ guest: {} }], policies, blocked }))
  if (reading.policies === null) throw new Error(lines(reading.problems).join('\n'))
  return reading.policies
}

const granting = (name: string, when: Json): JsonObject => ({ name, when, limits: { day: 1 }, realtime: {} })
const callerWith = (claims: JsonObject, issuer = 'https://auth.example.com/'): Caller =>
  createCaller({ issuer, subject: 'u1', claims: { iss: issuer, sub: 'u1', ...claims } })
const guest = callerWith({}, GUEST_ISSUER)

function attempt (policies: Policies, caller: Caller): Policy | ApiError {
  try {
    return selectPolicy(policies, caller, IDENTIFIER)
  } catch (error) {
    return error as ApiError
  }
}

/** The name of the selected policy, or the code of the refusal. */
function ruling (policies: Policies, caller: Caller): string {
  const ruled = attempt(policies, caller)
  return ruled instanceof ApiError ? ruled.code : ruled.name
}

t.test('D24: a claim that is missing, of another type or not listed grants nothing', async (t) => {
  const rows: [when: Json, claims: JsonObject][] = [
    [{ plan: 'pro' }, {}],
    [{ plan: 'pro' }, { plan: null }],
    [{ plan: 'pro' }, { plan: 'Pro' }],
    [{ plan: 'pro' }, { plan: 'pro ' }],
    [{ plan: 'pro' }, { plan: [] }],
    [{ plan: 'pro' }, { plan: [['pro']] }],
    [{ plan: 'pro' }, { plan: { pro: false } }],
    [{ plan: 'pro' }, { plan: { pro: null } }],
    [{ plan: 'pro' }, { plan: [{ pro: true }] }],
    [{ plan: 'constructor' }, { plan: {} }],
    [{ 0: 0 }, { 0: { 0: true } }],
    [{ plan: 'pro' }, { plan: { 0: 'pro' } }],
    [{ beta: true }, { beta: 'true' }],
    [{ beta: true }, { beta: 1 }],
    [{ level: 1 }, { level: '1' }],
    [{ level: 1 }, { level: true }],
    [{ level: 0 }, {}],
    [{ plan: ['pro', 'team'] }, { plan: 'free' }],
    [{ plan: ['pro', 'team'] }, { plan: 'pro,team' }],
    [{ plan: 'pro', beta: true }, { plan: 'pro' }],
    [{ plan: 'pro', blocked_at: null }, { plan: 'pro', blocked_at: '2026' }],
    [{ plan: 'pro', blocked_at: null }, { plan: 'pro', blocked_at: false }],
    [{ plan: 'pro', blocked_at: null }, { plan: 'pro', blocked_at: [] }],
    [{ '/app/beta': true }, { app: { beta: false } }],
    [{ '/app/beta': true }, { '/app/beta': true }],
    [{ '/app/beta': true }, { app: 'beta' }],
    [{ 'app/beta': true }, { app: { beta: true } }],
    [{ '/roles/length': 1 }, { roles: ['pro'] }],
    [{ '/roles/00': 'pro' }, { roles: ['pro'] }],
    [{ toString: 'x' }, {}],
    [{ '/app/constructor': 'x' }, { app: {} }],
    ['guest', {}]
  ]
  for (const [when, claims] of rows) {
    t.equal(
      ruling(policiesOf([granting('p', when)]), callerWith(claims)),
      'no_policy',
    `${JSON.stringify(when)} ${JSON.stringify(claims)}`
    )
  }
})

t.test('a claim matches if it is equal, is listed, or is a list with a match', async (t) => {
  const rows: [when: Json, claims: JsonObject][] = [
    ['any', {}],
    [{ plan: 'pro' }, { plan: 'pro' }],
    [{ plan: 'pro' }, { plan: ['free', 'pro'] }],
    [{ plan: ['pro', 'team'] }, { plan: 'team' }],
    [{ plan: ['pro', 'team'] }, { plan: ['x', 'team'] }],
    [{ level: [1, true] }, { level: true }],
    [{ plan: 'pro', '/app/beta': true, blocked_at: null }, { plan: 'pro', app: { beta: true } }],
    [{ blocked_at: null }, { blocked_at: null }],
    [{ '/app/x~1y~0z': 1 }, { app: { 'x/y~z': 1 } }],
    [{ '/roles/1': 'pro' }, { roles: ['free', 'pro'] }],
    [{ iss: 'https://auth.example.com/', sub: 'u1' }, {}]
  ]
  for (const [when, claims] of rows) {
    t.equal(
      ruling(policiesOf([granting('p', when)]), callerWith(claims)),
      'p',
    `${JSON.stringify(when)} ${JSON.stringify(claims)}`
    )
  }
})

t.test('only when: guest matches a guest', async (t) => {
  for (const when of ['any', { iss: GUEST_ISSUER }, { blocked_at: null }]) {
    t.equal(ruling(policiesOf([granting('p', when)]), guest), 'no_policy', JSON.stringify(when))
  }
  t.equal(ruling(policiesOf([granting('p', 'guest')]), guest), 'p')
})

t.test('the first match is selected, and a policy that denies ends the search', async (t) => {
  const policies = policiesOf([
    { name: 'suspended', when: { status: 'suspended' }, deny: true }, granting('pro', { plan: 'pro' }),
    granting('rest', 'any')
  ])
  t.equal(ruling(policies, callerWith({ status: 'suspended', plan: 'pro' })), 'no_policy')
  t.equal(ruling(policies, callerWith({ status: 'active', plan: 'pro' })), 'pro')
  t.equal(ruling(policies, callerWith({})), 'rest')
  t.match(attempt(policies, callerWith({ status: 'suspended' })), { reason: 'suspended' })
  t.match(attempt(policies, guest), { reason: 'none_matches' })
})

t.test('a blocked caller is refused whatever policy would match', async (t) => {
  const rows: [blocked: JsonObject, refused: boolean][] = [
    [{ subject: 'u1' }, true],
    [{ issuer: 'https://auth.example.com/', subject: 'u1' }, true],
    [{ safety_identifier: IDENTIFIER }, true],
    [{ issuer: 'https://other.example.com/', subject: 'u1' }, false],
    [{ subject: 'U1' }, false],
    [{ subject: 'u' }, false],
    [{ safety_identifier: 'cd'.repeat(32) }, false]
  ]
  for (const [blocked, refused] of rows) {
    t.equal(ruling(policiesOf([granting('p', 'any')], [{ subject: 'somebody' }, blocked]), callerWith({})), refused
      ? 'caller_blocked'
      : 'p', JSON.stringify(blocked))
  }
})
