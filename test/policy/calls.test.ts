// The keys of a policy that are about brokered calls, and what they grant.

import t from 'tap'
import { ApiError } from '../../src/errors.ts'
import type { Json, JsonObject } from '../../src/json.ts'
import { bucketsOf, secondsBucketsOf } from '../../src/limits/limits.ts'
import { grantCall, grantSecret } from '../../src/policy/grant.ts'
import type { Policy } from '../../src/policy/policy.ts'
import { readGa } from '../../src/routes/mint-body.ts'
import { fileWith, lines, problemsOf, readPolicy, rulesOf, type Written } from './harness.ts'

const AT = 'policies.0.realtime'
const OFF = 'turns off turn detection, and with data_channel: false no one could end a turn'
const off = { audio: { input: { turn_detection: null } } }
const vad = { type: 'object', additionalProperties: false, properties: { type: { const: 'server_vad' } } }

const calling = (calls: Json, others: JsonObject = {}): Written => ({ session: { calls, ...others } })
const audioOnly = (others: JsonObject): Written => calling({ data_channel: false }, others)
const limited = (limits: Json, entry: JsonObject = {}): Written =>
  ({ session: { fixed: { model: 'm' }, calls: {} }, entry: { limits, ...entry } })

t.test('calls: a policy that contradicts itself does not load', async (t) => {
  const around = { type: 'object', additionalProperties: true }
  const orNull = { anyOf: [{ type: 'null' }, vad] }
  const rows: [name: string, written: Written, problems: string[]][] = [
    [
      'secrets: false without calls', { session: { secrets: false } },
      [`${AT}.secrets is false, which needs calls: add calls: {}`]
    ],
    [
      'idle_seconds above max_seconds', calling({ max_seconds: 60, idle_seconds: 61 }),
      [`${AT}.calls.idle_seconds is above max_seconds: lower it, or raise max_seconds`]
    ],
    [
      'idle_seconds above the default of max_seconds', calling({ idle_seconds: 601 }),
      [`${AT}.calls.idle_seconds is above max_seconds: lower it, or raise max_seconds`]
    ],
    ['no turn detection fixed', audioOnly({ fixed: off }), [`${AT}.fixed.audio.input.turn_detection ${OFF}`]],
    [
      'no turn detection by default', audioOnly({ defaults: off }),
      [`${AT}.defaults.audio.input.turn_detection ${OFF}`]
    ],
    [
      'no turn detection allowed', audioOnly({ allow: { 'audio.input.turn_detection': orNull } }),
      [`${AT}.allow.audio.input.turn_detection ${OFF}`]
    ],
    [
      'no turn detection allowed inside what is', audioOnly({ allow: { 'audio.input': around } }),
      [`${AT}.allow.audio.input ${OFF}`]
    ],
    [
      'no turn detection in a prompt',
      { ...audioOnly({ prompts: ['quiet'] }), prompts: { quiet: { session: off } } },
      [`prompts.quiet.session.audio.input.turn_detection ${OFF}`]
    ],
    [
      'no turn detection in the default prompt',
      { ...audioOnly({ default_prompt: 'quiet' }), prompts: { quiet: { session: off } } },
      [`prompts.quiet.session.audio.input.turn_detection ${OFF}`]
    ],
    ...(['transcription', 'translation'] as const).map((kind): [string, Written, string[]] => [
      `calls and secrets of ${kind}`,
      { kind, session: { calls: {}, secrets: false, ...(kind === 'translation' ? { fixed: { model: 'm' } } : {}) } },
      ['calls', 'secrets'].map((key) => `policies.0.${kind}.${key} is not a known key`)
    ]),
    [
      'values out of range',
      calling({
        max_seconds: 9, idle_seconds: 4, concurrent: 0, total: 0, when_full: 'x', on_change: 'x', data_channel: 1
      }),
      [
        'max_seconds must be >= 10', 'idle_seconds must be >= 5', 'concurrent must be >= 1', 'total must be >= 1',
        'when_full must be one of refuse, replace', 'on_change must be one of restore, end, report',
        'data_channel must be boolean'
      ].map((problem) => `${AT}.calls.${problem}`)
    ],
    [
      'longer than an hour', calling({ max_seconds: 3601, idle_seconds: 3601 }),
      ['max_seconds must be <= 3600', 'idle_seconds must be <= 3600'].map((problem) => `${AT}.calls.${problem}`)
    ],
    ['seconds of a minute', limited({ call_seconds: { minute: 30 } }),
      ['policies.0.limits.call_seconds.minute is not a known key']],
    ['fewer seconds than any call takes', limited({ call_seconds: { hour: 4 } }),
      ['policies.0.limits.call_seconds.hour must be >= 5']],
    ['no windows of seconds', limited({ total: { call_seconds: {} } }),
      ['policies.0.limits.total.call_seconds must not be empty']],
    ['guests whose mints nothing counts', limited({ call_seconds: { day: 60 }, total: { call_seconds: { day: 60 } } }, {
      when: 'guest'
    }), ['policies.0.limits limits only seconds, which is not enough for guests: add minute, hour or day']]
  ]
  for (const [name, written, problems] of rows) {
    const found = problemsOf(written)
    t.equal(found.length, problems.length, `${name}: ${found.join()}`)
    for (const problem of problems) t.ok(found.some((line) => line.startsWith(problem)), `${name}: ${found.join()}`)
  }
})

t.test('calls: none are possible where upstream has only the routes of the beta', async (t) => {
  t.same(
    problemsOf(calling({}), { legacyOnly: true }),
    [`${AT}.calls cannot be created with OPENAI_MINT_API=sessions`]
  )
})

t.test('calls: seconds that limit nothing are a warning', async (t) => {
  for (const limits of [{ day: 1, call_seconds: { day: 60 } }, { total: { call_seconds: { hour: 60 } } }]) {
    t.same(
      lines(readPolicy(fileWith({ session: { fixed: { model: 'm' } }, entry: { limits } })).warnings),
      ['policies.0.limits has call_seconds, which have no effect without calls:']
    )
    t.same(readPolicy(fileWith(limited(limits))).warnings, [])
  }
})

t.test('calls: guests may have seconds beside a window', async (t) => {
  for (const limits of [{ day: 2, call_seconds: { day: 60 } }, { call_seconds: { day: 60 }, total: { minute: 9 } }]) {
    t.same(problemsOf(limited(limits, { when: 'guest' })), [])
  }
})

t.test('calls: turn detection may be chosen, and even be off where there is a data channel', async (t) => {
  const allow = (path: string, schema: Json) => ({ allow: { [path]: schema } })
  for (const written of [
    audioOnly(allow('audio.input.turn_detection', vad)),
    audioOnly(allow('audio.input.turn_detection.eagerness', { enum: ['low'] })),
    audioOnly(allow('audio.output.voice', { enum: ['marin'] })),
    calling({}, { fixed: off }), { session: { fixed: off } }
  ]) t.same(problemsOf(written), [], JSON.stringify(written))
})

t.test('calls: what is left out has its default', async (t) => {
  const defaults = {
    maxSeconds: 600,
    idleSeconds: 120,
    concurrent: 1,
    whenFull: 'refuse',
    total: null,
    hasDataChannel: true,
    onChange: 'restore'
  }
  t.strictSame(rulesOf(calling({})).calls, defaults)
  t.equal(rulesOf(calling({})).hasSecrets, true)
  t.equal(rulesOf({}).calls, null)
  t.strictSame(rulesOf(calling({ max_seconds: 60 })).calls, { ...defaults, maxSeconds: 60, idleSeconds: 60 })
  t.strictSame(rulesOf(calling({
    max_seconds: 3600,
    idle_seconds: 3600,
    concurrent: 2,
    when_full: 'replace',
    total: 200,
    data_channel: false,
    on_change: 'end'
  }, { secrets: false })).calls, {
    maxSeconds: 3600,
    idleSeconds: 3600,
    concurrent: 2,
    whenFull: 'replace',
    total: 200,
    hasDataChannel: false,
    onChange: 'end'
  })
})

t.test('calls: windows of seconds are counted apart from those of mints', async (t) => {
  const policy = policyOf(limited(
    { day: 9, call_seconds: { hour: 1200, day: 3600 }, total: { call_seconds: { day: 7200 } } }
  ))
  t.same(bucketsOf(policy, 'c'), [{ key: 'caller:c', windows: { day: 9 } }])
  t.same(secondsBucketsOf(policy, 'c'), [
    { key: 'caller-seconds:c', windows: { hour: 1200, day: 3600 } },
    { key: 'policy-seconds:only', windows: { day: 7200 } }
  ])
})

function policyOf (written: Written): Policy {
  return readPolicy(fileWith(written)).policies?.policies[0] as Policy
}

/** The refusal as `code param reason`, or the grant. */
function outcomeOf<T> (grant: () => T): T | string {
  try {
    return grant()
  } catch (error) {
    if (!(error instanceof ApiError)) throw error
    return `${error.code} ${error.param} ${error.reason}`
  }
}

function asking (written: Written, session: JsonObject = {}) {
  const grantee = { policy: policyOf(written), claims: { sub: 'u1' } }
  const { kind, asked } = readGa(['realtime', 'transcription'])({ session })
  return {
    secret: outcomeOf(() => grantSecret(grantee, kind, asked)), call: outcomeOf(() => grantCall(grantee, kind, asked))
  }
}

t.test('calls: a kind that is not named grants neither secrets nor calls', async (t) => {
  t.same(asking(calling({}), { type: 'transcription' }), {
    secret: 'policy_violation null kind_not_named', call: 'policy_violation null kind_not_named'
  })
})

t.test('calls: a kind without calls grants none', async (t) => {
  const { secret, call } = asking({ session: { fixed: { model: 'm' } } })
  t.equal(call, 'policy_violation null no_calls')
  t.match(secret, { session: { model: 'm' } })
})

t.test('calls: with secrets: false no secret is granted, and calls are', async (t) => {
  const { secret, call } = asking(calling({ max_seconds: 60 }, { secrets: false, fixed: { model: 'm' } }))
  t.equal(secret, 'policy_violation null no_secrets')
  t.match(call, { granted: { session: { model: 'm' }, model: 'm' }, rules: { maxSeconds: 60 } })
})

t.test('calls: the session of a call is held to the policy as that of a mint', async (t) => {
  const { secret, call } = asking(calling({}, { fixed: { model: 'm' } }), { instructions: 'x' })
  t.equal(secret, 'policy_violation session.instructions undefined')
  t.equal(call, secret)
})

t.test('calls: audio only, a client turns off no turn detection by a schema that hides it', async (t) => {
  // Admits an object only with another member, so that the load cannot see what else it may have.
  const schema = { type: 'object', additionalProperties: true, required: ['noise_reduction'] }
  const input = { noise_reduction: null, turn_detection: null }
  const written = audioOnly({ allow: { 'audio.input': schema } })
  t.same(problemsOf(written), [])
  t.equal(
    asking(written, { audio: { input } }).call,
    'policy_violation session.audio.input.turn_detection turn_detection_off'
  )
  t.match(asking(written, { audio: { input: { noise_reduction: null } } }).call, { granted: { session: {} } })
})
