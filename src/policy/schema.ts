// The policy file's schema, with the descriptions that editors show. What JSON Schema cannot express (contradictions,
// reachability) is checked in review.ts.

import Type, { type Static } from 'typebox'
import { CallerEntry } from '../callers/schema.ts'
import { LEAST_CALL_SECONDS } from '../limits/limits.ts'
import { SECRET_SECONDS } from '../realtime/nulls.ts'
import { described, optional } from '../schema/describe.ts'

const closed = { additionalProperties: false }
const name = Type.String({ minLength: 1, maxLength: 255 })
const names = Type.Array(name, { minItems: 1, uniqueItems: true })
const path = Type.String({ pattern: '^[^.]+(\\.[^.]+)*$', description: 'A dotted path such as audio.output.voice.' })
const scalar = Type.Union([Type.String(), Type.Number(), Type.Boolean()])
const jsonObject = Type.Record(Type.String(), Type.Unknown())
const jsonSchema = Type.Union([Type.Boolean(), jsonObject])
const secretSeconds = Type.Integer(SECRET_SECONDS)

const When = Type.Union([
  described('Every authenticated caller.', Type.Literal('any')),
  described('Callers without a credential; needs guest: {} under callers.', Type.Literal('guest')),
  described(
    'Claim name or JSON Pointer: the value it must equal, a list of allowed values, or null if it must be absent. ' +
    'All must match.',
    Type.Record(name, Type.Union([scalar, Type.Null(), Type.Array(scalar, { minItems: 1 })]), { minProperties: 1 })
  )
])

const mints = Type.Integer({ minimum: 1 })
const mintWindows = {
  minute: optional('Mints and calls in a minute.', mints),
  hour: optional('Mints and calls in an hour.', mints),
  day: optional('Mints and calls in a day.', mints)
}
const callSeconds = Type.Integer({ minimum: LEAST_CALL_SECONDS })
const CallSeconds = Type.Object({
  hour: optional('Seconds in an hour.', callSeconds),
  day: optional('Seconds in a day.', callSeconds)
}, { ...closed, minProperties: 1 })

export const CallPolicy = Type.Object({
  max_seconds: optional('A call ends after so many seconds, 10 to 3600. Left out: 600.', Type.Integer({
    minimum: 10, maximum: 3600
  })),
  idle_seconds: optional(
    'A call ends when neither side has spoken for so long, 5 to 3600. Left out: 120, or max_seconds if less.',
    Type.Integer({ minimum: 5, maximum: 3600 })
  ),
  concurrent: optional(
    'Calls of one caller at a time, over all policies and kinds. Left out: 1.', Type.Integer({ minimum: 1 })
  ),
  when_full: optional(
    'refuse: a caller with as many calls gets no other. replace: the oldest call of the caller is ended for it. ' +
    'Left out: refuse.',
    Type.Enum(['refuse', 'replace'])
  ),
  total: optional('Calls of all callers of this policy at a time.', Type.Integer({ minimum: 1 })),
  data_channel: optional(
    'false: audio only, so that a client cannot change the session. Left out: true.', Type.Boolean()
  ),
  on_change: optional(
    'What is done if a client changes what this policy does not allow it. restore: it is set back, and the fourth ' +
    'time within a minute ends the call. end: the call ends. report: it is written down. Left out: restore.',
    Type.Enum(['restore', 'end', 'report'])
  )
}, closed)
export type CallPolicy = Static<typeof CallPolicy>

const SessionPolicy = Type.Object({
  fixed: optional(
    'The session config that is always sent; a different value of the client is refused. ' +
    'May contain {{templates}} and { $env: NAME }.',
    jsonObject
  ),
  defaults: optional('Sent unless the client sends another value, where that is allowed.', jsonObject),
  allow: optional(
    'What a client may set: dotted path to a JSON Schema (2020-12) that its value must meet.',
    Type.Record(path, jsonSchema, { ...closed, minProperties: 1 })
  ),
  ignore: optional(
    'Dotted paths that are dropped from what a client sends, and counted.',
    Type.Array(path, { minItems: 1, uniqueItems: true })
  ),
  aliases: optional(
    'Models that old clients still name, each with its replacement.',
    Type.Record(name, name, { minProperties: 1 })
  ),
  prompts: optional('Entries of prompts: that a client may name by session.prompt.', names),
  default_prompt: optional('The entry that is used if the client names none.', name),
  expires_after: optional('How long the secret can open sessions; a session then lasts up to 60 minutes.', Type.Object({
    default: optional('Seconds, 10 to 7200, if the client names none. Left out: 60.', secretSeconds),
    max: optional('The most that a client may ask for. Left out: the default.', secretSeconds)
  }, { ...closed, minProperties: 1 })),
  hide: optional(
    'Dotted paths that are left out of the session in the response.',
    Type.Array(path, { minItems: 1, uniqueItems: true })
  )
}, closed)

export const RealtimePolicy = Type.Object({
  ...SessionPolicy.properties,
  secrets: optional('false: no client secret is minted, only calls. Needs calls. Left out: true.', Type.Boolean()),
  calls: optional('Calls that the service creates and ends. {} has every default. Left out: refused.', CallPolicy)
}, closed)
export type RealtimePolicy = Static<typeof RealtimePolicy>

export const PolicyEntry = Type.Object({
  name: described('Shown in the log, in the audit lines and in the metrics.', name),
  when: described('The callers that this policy is for.', When),
  deny: optional('Refuses the callers that it matches.', Type.Literal(true)),
  limits: optional('Mints and calls per caller, over all kinds and routes.', Type.Union([
    described('No limits.', Type.Literal('none')),
    Type.Object({
      ...mintWindows,
      call_seconds: optional('Seconds that the calls of a caller may last together.', CallSeconds),
      total: optional('The same for all callers of this policy together.', Type.Object({
        ...mintWindows,
        call_seconds: optional('Seconds that their calls may last together.', CallSeconds)
      }, { ...closed, minProperties: 1 }))
    }, { ...closed, minProperties: 1 })
  ])),
  realtime: optional('Voice sessions. Left out: refused.', RealtimePolicy),
  transcription: optional('Transcription sessions. Left out: refused.', SessionPolicy),
  translation: optional('Translation sessions. Left out: refused.', SessionPolicy)
}, closed)
export type PolicyEntry = Static<typeof PolicyEntry>

export const PromptEntry = Type.Object({
  variables: optional(
    'Name to the JSON Schema that a client\'s value for {{variables.NAME}} must meet.',
    Type.Record(name, jsonSchema, { minProperties: 1 })
  ),
  session: described('The session config that is sent if a client names this prompt.', jsonObject)
}, closed)
export type PromptEntry = Static<typeof PromptEntry>

export const PolicyFile = Type.Object({
  callers: described(
    'Who may call. The credential of a request decides which entry verifies it.',
    Type.Array(CallerEntry, { minItems: 1 })
  ),
  prompts: optional(
    'Profiles that clients name by id: id, or id@version.', Type.Record(name, PromptEntry, { minProperties: 1 })
  ),
  policies: described(
    'What callers get. The first policy whose when matches applies; without a match the request is refused.',
    Type.Array(PolicyEntry, { minItems: 1 })
  ),
  blocked: optional('Callers to refuse, whatever their claims.', Type.Array(Type.Object({
    issuer: optional('Only together with subject: restricts it to this issuer.', name),
    subject: optional('Of any issuer, unless issuer is set.', name),
    safety_identifier: optional('As printed by npm run identify.', Type.String({ pattern: '^[0-9a-f]{64}$' }))
  }, { ...closed, minProperties: 1, dependentRequired: { issuer: ['subject'] } }), { minItems: 1 }))
}, closed)
export type PolicyFile = Static<typeof PolicyFile>
