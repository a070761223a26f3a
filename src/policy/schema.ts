// The policy file's schema, with what an editor shows of each key. What JSON Schema cannot say (contradictions, reachability)
// is checked in file.ts.

import Type, { type Static } from 'typebox'
import { CallerEntry } from '../callers/schema.ts'
import { described, optional } from '../schema/describe.ts'

const closed = { additionalProperties: false }
const name = Type.String({ minLength: 1, maxLength: 255 })
const names = Type.Array(name, { minItems: 1, uniqueItems: true })
const path = Type.String({ pattern: '^[^.]+(\\.[^.]+)*$', description: 'A dotted path such as audio.output.voice.' })
const scalar = Type.Union([Type.String(), Type.Number(), Type.Boolean()])
const jsonObject = Type.Record(Type.String(), Type.Unknown())
const jsonSchema = Type.Union([Type.Boolean(), jsonObject])
const secretSeconds = Type.Integer({ minimum: 10, maximum: 7200 })

const When = Type.Union([
  described('Every authenticated caller.', Type.Literal('any')),
  described('Nobody authenticated; needs guest: {} under callers.', Type.Literal('guest')),
  described('Claim name or JSON Pointer: the value it must equal, a list of which it must be one, or null where it must be absent. All must match.',
    Type.Record(name, Type.Union([scalar, Type.Null(), Type.Array(scalar, { minItems: 1 })]), { minProperties: 1 }))
])

const mints = Type.Integer({ minimum: 1 })
const Windows = {
  minute: optional('Mints in a minute.', mints),
  hour: optional('Mints in an hour.', mints),
  day: optional('Mints in a day.', mints)
}

export const SessionPolicy = Type.Object({
  fixed: optional(
    'The session config that is always sent; a different value of the client is refused. May hold {{templates}} and { $env: NAME }.',
    jsonObject
  ),
  defaults: optional('Sent unless the client says something else, where that is allowed.', jsonObject),
  allow: optional(
    'What a client may say: dotted path to a JSON Schema (2020-12) that its value must meet.',
    Type.Record(path, jsonSchema, { ...closed, minProperties: 1 })
  ),
  ignore: optional(
    'Dotted paths that are dropped from what a client sends, and counted.',
    Type.Array(path, { minItems: 1, uniqueItems: true })
  ),
  aliases: optional(
    'Models that old clients still name, each with the one that is meant.',
    Type.Record(name, name, { minProperties: 1 })
  ),
  prompts: optional('Entries of prompts: that a client may name by session.prompt.', names),
  default_prompt: optional('The entry that is taken where the client names none.', name),
  expires_after: optional('For how long the secret opens sessions; a session then lasts up to 60 minutes.', Type.Object({
    default: optional('Seconds, 10 to 7200, where the client says nothing. Left out: 60.', secretSeconds),
    max: optional('The most that a client may ask for. Left out: the default.', secretSeconds)
  }, { ...closed, minProperties: 1 })),
  hide: optional(
    'Dotted paths that are left out of the session in the answer.', Type.Array(path, { minItems: 1, uniqueItems: true })
  )
}, closed)
export type SessionPolicy = Static<typeof SessionPolicy>

export const PolicyEntry = Type.Object({
  name: described('Stands in the log, in the audit lines and in the metrics.', name),
  when: described('Whom this policy is for.', When),
  deny: optional('Refuses whom it matches.', Type.Literal(true)),
  limits: optional('Mints per caller, over all kinds and routes.', Type.Union([
    described('Says in writing that there are none.', Type.Literal('none')),
    Type.Object({
      ...Windows,
      total: optional(
        'Mints by all callers of this policy together.', Type.Object(Windows, { ...closed, minProperties: 1 })
      )
    }, { ...closed, minProperties: 1 })
  ])),
  realtime: optional('Voice sessions. Left out: refused.', SessionPolicy),
  transcription: optional('Transcription sessions. Left out: refused.', SessionPolicy),
  translation: optional('Translation sessions. Left out: refused.', SessionPolicy)
}, closed)
export type PolicyEntry = Static<typeof PolicyEntry>

export const PromptEntry = Type.Object({
  variables: optional(
    'Name to the JSON Schema of what a client may say for {{variables.NAME}}.',
    Type.Record(name, jsonSchema, { minProperties: 1 })
  ),
  session: described('The session config that naming it means.', jsonObject)
}, closed)
export type PromptEntry = Static<typeof PromptEntry>

export const PolicyFile = Type.Object({
  callers: described(
    'Who may call. A request is judged by the credential that it presents.', Type.Array(CallerEntry, { minItems: 1 })
  ),
  prompts: optional(
    'Profiles held by the server: id, or id@version.', Type.Record(name, PromptEntry, { minProperties: 1 })
  ),
  policies: described(
    'What they get. The first whose when matches rules; where none does, the request is refused.',
    Type.Array(PolicyEntry, { minItems: 1 })
  ),
  blocked: optional('Whom to refuse whatever their claims are.', Type.Array(Type.Object({
    issuer: optional('Only together with subject: of this issuer alone.', name),
    subject: optional('Of any issuer, unless one is named.', name),
    safety_identifier: optional('What npm run identify prints.', Type.String({ pattern: '^[0-9a-f]{64}$' }))
  }, { ...closed, minProperties: 1, dependentRequired: { issuer: ['subject'] } }), { minItems: 1 }))
}, closed)
export type PolicyFile = Static<typeof PolicyFile>
