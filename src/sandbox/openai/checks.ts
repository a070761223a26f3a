// The checks of the GA API, which is strict: an unknown parameter of a mint, a call or an update is an error.

import { isObject, type Json, type JsonObject } from '../../json.ts'
import { checkSession, isKnownPath, type Kind } from '../../realtime/session.ts'
import { invalidValue, missingParameter, OpenaiError, unknownParameter } from './error.ts'

export type CheckedMint = Readonly<{ session: JsonObject, seconds: number }>

const DEFAULT_SECONDS = 600

/** Throws OpenaiError. */
export function checkMint (body: JsonObject): CheckedMint & { kind: 'realtime' | 'transcription' } {
  const { session = { type: 'realtime' } } = body
  if (!isObject(session)) throw invalidValue('session')
  if (session.type === undefined) throw missingParameter('session.type')
  if (session.type !== 'realtime' && session.type !== 'transcription') {
    throw invalidValue(
      'session.type', `Invalid value: '${session.type}'. Supported values are: 'realtime' and 'transcription'.`
    )
  }
  return { kind: session.type, ...check(session.type, body, session) }
}

/** Throws OpenaiError. */
export function checkTranslationMint (body: JsonObject): CheckedMint {
  if (!isObject(body.session)) throw missingParameter('session')
  return check('translation', body, body.session)
}

/** The session of a call that a server creates. Throws OpenaiError. */
export function checkCallSession (session: unknown): JsonObject {
  if (!isObject(session)) throw invalidValue('session')
  if (session.type === undefined) throw missingParameter('session.type')
  if (session.type !== 'realtime') throw invalidValue('session.type')
  checkGaSession('realtime', session)
  return session
}

/** Checks a session as the GA API does. Throws OpenaiError with the path that is wrong. */
export function checkGaSession (kind: Kind, session: JsonObject): void {
  // Our types know `temperature`, because policies may speak of it; GA never did.
  if (kind === 'realtime' && session.temperature !== undefined) throw unknownParameter('session.temperature')
  const { type, ...rest } = session
  if (kind === 'translation' && type !== undefined) throw unknownParameter('session.type')
  const { output_modalities: modalities } = rest
  if (Array.isArray(modalities) && modalities.length > 1) {
    throw invalidValue(
      'session.output_modalities', 'Invalid modalities. Supported combinations are: [\'text\'] and [\'audio\'].'
    )
  }
  const path = checkSession(kind, rest)
  if (path === null) return
  // The one thing that a session must have at its root is a translation's model.
  if (path.length === 0) throw missingParameter('session.model')
  const param = ['session', ...path].join('.')
  throw isKnownPath(kind, path) ? invalidValue(param) : unknownParameter(param)
}

/** Seconds, or undefined if it is not set. Throws OpenaiError. */
export function checkExpiresAfter (given: Json | undefined, param: string): number | undefined {
  if (given === undefined) return undefined
  if (!isObject(given)) throw invalidValue(param)
  for (const key of Object.keys(given)) {
    if (key !== 'anchor' && key !== 'seconds') throw unknownParameter(`${param}.${key}`)
  }
  if (given.anchor === undefined) throw missingParameter(`${param}.anchor`)
  if (given.anchor !== 'created_at') throw invalidValue(`${param}.anchor`)
  const { seconds } = given
  if (seconds === undefined) throw missingParameter(`${param}.seconds`)
  if (typeof seconds !== 'number' || !Number.isInteger(seconds)) throw invalidValue(`${param}.seconds`)
  if (seconds < 10) {
    throw new OpenaiError(
      400,
    `Invalid '${param}.seconds': integer below minimum value. Expected a value >= 10, but got ${seconds} instead.`,
    'integer_below_min_value',
    `${param}.seconds`
    )
  }
  if (seconds > 7200) {
    throw new OpenaiError(
      400,
    `Invalid '${param}.seconds': integer above maximum value. Expected a value <= 7200, but got ${seconds} instead.`,
    'integer_above_max_value',
    `${param}.seconds`
    )
  }
  return seconds
}

function check (kind: Kind, body: JsonObject, session: JsonObject): CheckedMint {
  for (const key of Object.keys(body)) if (key !== 'session' && key !== 'expires_after') throw unknownParameter(key)
  checkGaSession(kind, session)
  return { session, seconds: checkExpiresAfter(body.expires_after, 'expires_after') ?? DEFAULT_SECONDS }
}
