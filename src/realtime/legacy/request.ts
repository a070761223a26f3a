// Requests of the legacy API, read as GA sessions and written back for servers that speak only the legacy API.

import { ApiError, type ErrorCode } from '../../errors.ts'
import { getIn, isObject, type Json, type JsonObject, leafPaths, overlaps, type Path, setIn } from '../../json.ts'
import { isKnownPath, type Kind, KINDS } from '../session.ts'
import { type Field, FIELDS, type LegacyKind } from './fields.ts'

export type { LegacyKind }

export type LegacyRequest = {
  /** Without `type`. */
  session: JsonObject
  /** As sent: the policy judges it. */
  expiresAfter: Json | undefined
  expiresAfterPath: Path
  /** GA paths at which the translation says what the client did not. */
  added: Path[]
  /** Names of fields that GA has no place for: they have no effect there, and are reported as ignored. */
  dropped: string[]
}

const TURN_DETECTION_TYPE: Path = ['audio', 'input', 'turn_detection', 'type']
/** What GA asks for and a legacy client cannot say, or need not. */
const ADDED: readonly Path[] = [
  TURN_DETECTION_TYPE, ['audio', 'input', 'format', 'rate'], ['audio', 'output', 'format', 'rate']
]

/** The name under which each kind is sent a lifetime; both are read on both routes. */
const LIFETIME: Readonly<Record<LegacyKind, string>> = { realtime: 'expires_after', transcription: 'expires_at' }

/**
 * Names that neither API knows keep their name, for the policy to refuse, ignore or allow; names that only GA knows
 * are refused here, because the route alone decides the shape. Throws ApiError `invalid_request`, `policy_violation`.
 */
export function readLegacy (kind: LegacyKind, { client_secret: secret, ...body }: JsonObject): LegacyRequest {
  const names = new Set(FIELDS[kind].map(({ name }) => name))
  const others = Object.entries(body).filter(([name]) => !names.has(name))
  const misplaced = others.filter(([name]) => isGaName(name))
  if (misplaced.length > 0) refuse('policy_violation', deepest(Object.fromEntries(misplaced)))

  const session: JsonObject = Object.fromEntries(others)
  const dropped: string[] = []
  for (const { name, path, read } of FIELDS[kind]) {
    if (!Object.hasOwn(body, name)) continue
    const value = read(body[name] as Json)
    if (value === undefined) refuse('invalid_request', [name])
    if (path === null) dropped.push(name)
    else setIn(session, path, value)
  }
  const { turn_detection: detection } = body
  const added = ADDED.filter((path) => getIn(session, path) !== undefined &&
    (path !== TURN_DETECTION_TYPE || (isObject(detection) && !Object.hasOwn(detection, 'type'))))
  return { session, ...readLifetime(kind, secret), added, dropped }
}

/** What the legacy API has no words for is left out: see `legacyCanCarry`. */
export function writeLegacy (kind: LegacyKind, session: JsonObject, seconds: number): JsonObject {
  return {
    ...Object.fromEntries(Object.entries(session).filter(([name]) => !isGaName(name))),
    ...writeFields(kind, session),
    client_secret: { [LIFETIME[kind]]: { anchor: 'created_at', seconds } }
  }
}

/** The legacy fields that say what `session` says; total, whatever its values are. */
export function writeFields (kind: LegacyKind, session: JsonObject): JsonObject {
  const body: JsonObject = {}
  for (const { name, path, write } of FIELDS[kind]) {
    const value = path === null ? undefined : getIn(session, path)
    const written = value === undefined ? undefined : write(value)
    if (written !== undefined) body[name] = written
  }
  return body
}

/** A GA path, dotted, as a legacy client wrote it. */
export function legacyParam (kind: LegacyKind, path: Path): string {
  const field = fieldAt(kind, path)
  if (field === undefined) return path.join('.')
  return (field.flat ? [field.name] : [field.name, ...below(field, path)]).join('.')
}

/** Whether the legacy API can say `value` at a GA path. Names that no API knows are sent as written. */
export function legacyCanCarry (kind: Kind, path: Path, value?: Json): boolean {
  if (kind === 'translation') return false
  const field = fieldAt(kind, path)
  if (field === undefined) {
    return FIELDS[kind].some((other) => other.path !== null && overlaps(other.path, path)) ||
    !path.slice(0, 1).some(isGaName)
  }
  // It knows function tools only, and an MCP tool carries credentials.
  if (field.name === 'tools' && Array.isArray(value)) {
    return value.every((tool) => isObject(tool) && (tool.type ?? 'function') === 'function')
  }
  return !below(field, path).slice(0, 1).some((member) => field.gaOnly.includes(member))
}

/** Whether GA has a parameter of this name for any kind of session. */
function isGaName (name: string): boolean {
  return name === 'type' || KINDS.some((kind) => isKnownPath(kind, [name]))
}

function fieldAt (kind: LegacyKind, path: Path): Field | undefined {
  return FIELDS[kind].find(
    (field) => field.path !== null && field.path.length <= path.length && overlaps(field.path, path)
  )
}

function below (field: Field, path: Path): Path {
  return path.slice(field.path?.length)
}

function readLifetime (kind: LegacyKind, secret: Json = {}): Pick<LegacyRequest, 'expiresAfter' | 'expiresAfterPath'> {
  if (!isObject(secret)) return refuse('policy_violation', ['client_secret'])
  const name = Object.values(LIFETIME).find((known) => Object.hasOwn(secret, known)) ?? LIFETIME[kind]
  const { [name]: expiresAfter, ...others } = secret
  if (Object.keys(others).length > 0) refuse('policy_violation', ['client_secret', ...deepest(others)])
  return { expiresAfter, expiresAfterPath: ['client_secret', name] }
}

function deepest (value: JsonObject): Path {
  return leafPaths(value)[0] as Path
}

/** The names are the client's own, and of any length. */
function refuse (code: ErrorCode, path: Path): never {
  throw new ApiError(code, { param: path.join('.').slice(0, 256) })
}
