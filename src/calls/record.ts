// A call as written for other replicas: all that one of them needs to take it over, and no secret.

import { hash } from 'node:crypto'
import Type, { type Static } from 'typebox'
import { Check } from 'typebox/schema'
import type { JsonObject } from '../json.ts'
import { redactSecrets } from '../policy/redacted.ts'
import type { CallFacts } from './facts.ts'
import { Usage } from './usage.ts'

const Milliseconds = Type.Number()
const Ids = Type.Object({ seen: Type.Array(Type.String()), expected: Type.Array(Type.String()) })
const Session = Type.Unsafe<JsonObject>(Type.Object({}))
const redactedSchema = Type.Object({ shown: Session, hidden: Type.Record(Type.String(), Type.String()) })
const orNull = <T extends Type.TSchema>(schema: T) => Type.Union([schema, Type.Null()])
const Count = Type.Number({ minimum: 0 })

/** Facts that are known once upstream has created the call. Milliseconds count from that moment. */
const Created = Type.Object({
  id: Type.String({ pattern: '^rtc_[A-Za-z0-9_-]{1,200}$' }),
  /** Digest of the key that created the call: see `keyDigest`. */
  key: Type.String(),
  dateMs: orNull(Milliseconds),
  createdAt: Type.Integer({ minimum: 0 }),
  longestMs: Milliseconds,
  wasStarted: Type.Boolean(),
  /** Whether everything was given back already. */
  isRefunded: Type.Boolean(),
  reason: orNull(Type.String()),
  leash: Type.Object({
    isJoined: Type.Boolean(), idleMs: Milliseconds, endsAtMs: Milliseconds
  }),
  receipt: Type.Object({
    usage: Usage, responses: Ids, transcriptions: Ids, isTranscribed: Type.Boolean(), isWhole: Type.Boolean()
  }),
  changes: Count,
  /** Null until a session was reported. */
  baseline: orNull(redactedSchema)
})

const Rules = Type.Object({
  maxSeconds: Count,
  idleSeconds: Count,
  concurrent: Count,
  whenFull: Type.Enum(['refuse', 'replace']),
  total: orNull(Count),
  hasDataChannel: Type.Boolean(),
  onChange: Type.Enum(['restore', 'end', 'report'])
})

export const CallRecord = Type.Object({
  requestId: Type.String(),
  issuer: Type.String(),
  subject: Type.String(),
  /** The claims that a policy reads. */
  claims: Session,
  kind: Type.Enum(['realtime', 'transcription', 'translation']),
  model: orNull(Type.String()),
  prompt: orNull(Type.String()),
  asked: Session,
  sent: redactedSchema,
  rules: Rules,
  hasDataChannel: Type.Boolean(),
  maxSeconds: Count,
  created: orNull(Created)
})
export type CallRecord = Static<typeof CallRecord>
export type CreatedRecord = Static<typeof Created>

export function writeRecord (
  { requestId, issuer, subject, claims, kind, granted, asked, rules, hasDataChannel, conceal }: CallFacts,
  { claimsRead, ...now }: Pick<CallRecord, 'maxSeconds' | 'created'> & Readonly<{ claimsRead: ReadonlySet<string> }>
): CallRecord {
  return {
    requestId,
    issuer,
    subject,
    claims: Object.fromEntries(Object.entries(claims).filter(([name]) => claimsRead.has(name))),
    kind,
    model: granted.model,
    prompt: granted.prompt,
    asked,
    sent: redactSecrets(granted.session, conceal),
    rules,
    hasDataChannel,
    ...now
  }
}

/** The first 16 hex digits of the SHA-256 of a key: enough to tell keys apart. */
export function keyDigest (headers: Readonly<Record<string, string>>): string {
  const [value = ''] = Object.values(headers)
  return hash('sha256', value.replace(/^Bearer /, '')).slice(0, 16)
}

/** Null if the text is not a record of ours. */
export function readRecord (text: string): CallRecord | null {
  try {
    const value: unknown = JSON.parse(text)
    return Check(CallRecord, value) ? value : null
  } catch {
    return null
  }
}

/** The id of a call at upstream in a record that is damaged otherwise. */
export function upstreamIdIn (text: string): string | null {
  return /"id":"(rtc_[A-Za-z0-9_-]{1,200})","key":/.exec(text)?.[1] ?? null
}
