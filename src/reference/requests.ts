// JSON Schemas of request bodies, derived from the session schemas and the table of legacy fields. Only for the API
// reference: bodies are not validated by Fastify, which would coerce values and drop fields.

import { isObject, type Json, type JsonObject, type Path } from '../json.ts'
import { type Field, FIELDS, FORMAT_NAMES, type LegacyKind } from '../realtime/legacy/fields.ts'
import { SECRET_SECONDS } from '../realtime/nulls.ts'
import { type Kind, sessionSchemas } from '../realtime/session.ts'

const BY_POLICY = 'The policy decides what may be set here: see `GET /v1/realtime/policy`. ' +
  'Anything else is refused with 403 `policy_violation`.'
const ref = (name: string) => ({ $ref: `#/components/schemas/${name}` })

/** By their names in the document's components. */
export function requestSchemas (): JsonObject {
  const { temperature, ...realtime } = propertiesOf('realtime')
  return {
    ClientSecretRequest: closed('All of it is optional: the policy has a config of its own.', {
      expires_after: ref('ExpiresAfter'),
      session: { anyOf: [ref('RealtimeSession'), ref('TranscriptionSession')] }
    }),
    TranslationClientSecretRequest: closed('All of it is optional: the policy has a config of its own.', {
      expires_after: ref('ExpiresAfter'),
      session: ref('TranslationSession')
    }),
    RealtimeSession: closed(
      BY_POLICY, { type: { const: 'realtime', description: 'The default.' }, ...realtime }
    ),
    TranscriptionSession: {
      ...closed(BY_POLICY, { type: { const: 'transcription' }, ...propertiesOf('transcription') }), required: ['type']
    },
    TranslationSession: closed(
      BY_POLICY,
      { type: { const: 'translation', description: 'The default.' }, ...propertiesOf('translation') }
    ),
    LegacySessionRequest: legacyRequest('realtime'),
    LegacyTranscriptionSessionRequest: legacyRequest('transcription'),
    SdpOffer: {
      type: 'string',
      description: 'A WebRTC offer with one audio section, and a data channel if the policy permits it; at most 64 KiB.'
    },
    CallForm: {
      ...closed('At most 96 KiB; no part is a file.', { sdp: ref('SdpOffer'), session: ref('RealtimeSession') }),
      required: ['sdp']
    },
    ExpiresAfter: closed('How long the secret can open sessions; a session then lasts up to 60 minutes.', {
      anchor: { const: 'created_at' },
      seconds: { type: 'integer', ...SECRET_SECONDS, description: 'At most what the policy permits.' }
    })
  }
}

function legacyRequest (kind: LegacyKind): JsonObject {
  return closed(BY_POLICY, {
    ...Object.fromEntries(FIELDS[kind].map((field) => [field.name, legacyValue(kind, field)])),
    client_secret: closed(
      'Both names work on both routes.', { expires_after: ref('ExpiresAfter'), expires_at: ref('ExpiresAfter') }
    )
  })
}

function legacyValue (kind: LegacyKind, { name, path, gaOnly }: Field): JsonObject {
  if (name === 'modalities') {
    return { type: 'array', items: { enum: ['text', 'audio'] }, minItems: 1, uniqueItems: true }
  }
  if (name === 'tool_choice') return { type: 'string', description: 'auto, none, required, or the name of a function.' }
  if (name.endsWith('_audio_format')) return { enum: FORMAT_NAMES }
  const schema = jsonSchemaAt(kind, path as Path)
  if (name === 'turn_detection') return { anyOf: [bothDetections(schema.anyOf as JsonObject[]), { type: 'null' }] }
  return {
    ...schema, ...Array.isArray(schema.anyOf) && { anyOf: schema.anyOf.map((variant) => without(variant, gaOnly)) }
  }
}

/** One object for both types in the legacy API; the default type is `server_vad`. */
function bothDetections (variants: JsonObject[]): JsonObject {
  const members = variants.map(({ properties = {} }) => properties as JsonObject)
  const { idle_timeout_ms: _gaOnly, ...properties } = Object.assign({}, ...members)
  return closed('', {
    ...properties,
    type: { enum: members.flatMap(({ type }) => isObject(type as Json) ? (type as JsonObject).const as Json : []) }
  })
}

function without (variant: Json, names: readonly string[]): Json {
  if (!isObject(variant) || !isObject(variant.properties as Json)) return variant
  return {
    ...variant,
    properties: Object.fromEntries(
      Object.entries(variant.properties as JsonObject).filter(([name]) => !names.includes(name))
    )
  }
}

function jsonSchemaAt (kind: Kind, path: Path): JsonObject {
  return path.reduce((schema, key) => (schema.properties as JsonObject)[key] as JsonObject, plain(kind))
}

function propertiesOf (kind: Kind): JsonObject {
  return plain(kind).properties as JsonObject
}

function plain (kind: Kind): JsonObject {
  return JSON.parse(JSON.stringify(sessionSchemas[kind]))
}

function closed (description: string, properties: JsonObject): JsonObject {
  return { type: 'object', ...description !== '' && { description }, properties, additionalProperties: false }
}
