// The policy file's schema. What JSON Schema cannot say (contradictions, reachability) is checked in file.ts.

import Type, { type Static } from 'typebox'
import { CallerEntry } from '../callers/entries.ts'

const closed = { additionalProperties: false }
const name = Type.String({ minLength: 1, maxLength: 255 })
const names = Type.Array(name, { minItems: 1, uniqueItems: true })
const path = Type.String({ pattern: '^[^.]+(\\.[^.]+)*$' })
const scalar = Type.Union([Type.String(), Type.Number(), Type.Boolean()])
const jsonObject = Type.Record(Type.String(), Type.Unknown())
const jsonSchema = Type.Union([Type.Boolean(), jsonObject])
const secretSeconds = Type.Integer({ minimum: 10, maximum: 7200 })

const When = Type.Union([
  Type.Literal('any'),
  Type.Literal('guest'),
  Type.Record(name, Type.Union([scalar, Type.Null(), Type.Array(scalar, { minItems: 1 })]), { minProperties: 1 })
])

const mints = Type.Optional(Type.Integer({ minimum: 1 }))
const Windows = { minute: mints, hour: mints, day: mints }

export const SessionPolicy = Type.Object({
  fixed: Type.Optional(jsonObject),
  defaults: Type.Optional(jsonObject),
  allow: Type.Optional(Type.Record(path, jsonSchema, { minProperties: 1 })),
  ignore: Type.Optional(Type.Array(path, { minItems: 1, uniqueItems: true })),
  aliases: Type.Optional(Type.Record(name, name, { minProperties: 1 })),
  prompts: Type.Optional(names),
  default_prompt: Type.Optional(name),
  expires_after: Type.Optional(Type.Object({ default: Type.Optional(secretSeconds), max: Type.Optional(secretSeconds) }, { ...closed, minProperties: 1 })),
  hide: Type.Optional(Type.Array(path, { minItems: 1, uniqueItems: true }))
}, closed)
export type SessionPolicy = Static<typeof SessionPolicy>

export const PolicyEntry = Type.Object({
  name,
  when: When,
  deny: Type.Optional(Type.Literal(true)),
  limits: Type.Optional(Type.Union([
    Type.Literal('none'),
    Type.Object({ ...Windows, total: Type.Optional(Type.Object(Windows, { ...closed, minProperties: 1 })) }, { ...closed, minProperties: 1 })
  ])),
  realtime: Type.Optional(SessionPolicy),
  transcription: Type.Optional(SessionPolicy),
  translation: Type.Optional(SessionPolicy)
}, closed)
export type PolicyEntry = Static<typeof PolicyEntry>

export const PromptEntry = Type.Object({
  variables: Type.Optional(Type.Record(name, jsonSchema, { minProperties: 1 })),
  session: jsonObject
}, closed)
export type PromptEntry = Static<typeof PromptEntry>

export const PolicyFile = Type.Object({
  callers: Type.Array(CallerEntry, { minItems: 1 }),
  prompts: Type.Optional(Type.Record(name, PromptEntry, { minProperties: 1 })),
  policies: Type.Array(PolicyEntry, { minItems: 1 }),
  blocked: Type.Optional(Type.Array(Type.Object({
    issuer: Type.Optional(name),
    subject: Type.Optional(name),
    safety_identifier: Type.Optional(Type.String({ pattern: '^[0-9a-f]{64}$' }))
  }, { ...closed, minProperties: 1, dependentRequired: { issuer: ['subject'] } }), { minItems: 1 }))
}, closed)
export type PolicyFile = Static<typeof PolicyFile>
