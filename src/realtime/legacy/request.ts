// Translates requests of the legacy API to GA sessions, and back for an upstream that has only the legacy API.

import { ApiError, type ErrorCode, MAX_PARAM_LENGTH } from '../../errors.ts'
import { getIn, isObject, type Json, type JsonObject, leafPaths, overlaps, type Path, setIn } from '../../json.ts'
import { Lifetime, withoutNulls } from '../nulls.ts'
import { isKnownPath, type Kind, KINDS, schemaAt } from '../session.ts'
import { type Field, FIELDS, type LegacyKind } from './fields.ts'

export type { LegacyKind }

export type LegacyRequest = {
  /** Without `type`. */
  session: JsonObject
  /** As sent: checked by the policy. */
  expiresAfter: Json | undefined
  expiresAfterPath: Path
  /** GA paths that the conversion added. */
  added: Path[]
  /** Names of fields without a GA equivalent: reported as ignored. */
  dropped: string[]
}

const TURN_DETECTION_TYPE: Path = ['audio', 'input', 'turn_detection', 'type']
/** Fields that GA requires, and that a legacy client cannot or need not send. */
const ADDED: readonly Path[] = [
  TURN_DETECTION_TYPE, ['audio', 'input', 'format', 'rate'], ['audio', 'output', 'format', 'rate']
]

/** The field of a lifetime when sent upstream. Clients may use either name on both routes. */
const LIFETIME: Readonly<Record<LegacyKind, string>> = { realtime: 'expires_after', transcription: 'expires_at' }

/**
 * Fields of neither API are kept, for the policy to refuse, ignore or allow. Fields of GA only are refused here: the
 * route alone decides the shape. Throws ApiError `invalid_request`, `policy_violation`.
 */
export function readLegacy (kind: LegacyKind, { client_secret: secret, ...given }: JsonObject): LegacyRequest {
  const body = withoutUnset(kind, given)
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

/** Before the conversion, which would read a null as a value. */
function withoutUnset (kind: LegacyKind, body: JsonObject): JsonObject {
  return Object.fromEntries(Object.entries(body).flatMap(([name, value]) => {
    const field = FIELDS[kind].find((known) => known.name === name)
    if (field === undefined) return [[name, value]]
    const set = field.path === null ? value ?? undefined : withoutNulls(schemaAt(kind, field.path), value)
    return set === undefined ? [] : [[name, set]]
  }))
}

/** Leaves out everything without a legacy equivalent: see `legacyCanCarry`. */
export function writeLegacy (kind: LegacyKind, session: JsonObject, seconds: number): JsonObject {
  return {
    ...Object.fromEntries(Object.entries(session).filter(([name]) => !isGaName(name))),
    ...writeFields(kind, session),
    client_secret: { [LIFETIME[kind]]: { anchor: 'created_at', seconds } }
  }
}

/** `session` as legacy fields. Does not throw, whatever the values are. */
export function writeFields (kind: LegacyKind, session: JsonObject): JsonObject {
  const body: JsonObject = {}
  for (const { name, path, write } of FIELDS[kind]) {
    const value = path === null ? undefined : getIn(session, path)
    const written = value === undefined ? undefined : write(value)
    if (written !== undefined) body[name] = written
  }
  return body
}

/** The legacy name of a GA path, dotted. */
export function legacyParam (kind: LegacyKind, path: Path): string {
  const field = fieldAt(kind, path)
  if (field === undefined) return path.join('.')
  return (field.flat ? [field.name] : [field.name, ...below(field, path)]).join('.')
}

/** Whether the legacy API has an equivalent for `value` at a GA path. Fields of neither API are sent as written. */
export function legacyCanCarry (kind: Kind, path: Path, value?: Json): boolean {
  if (kind === 'translation') return false
  const field = fieldAt(kind, path)
  if (field === undefined) {
    return FIELDS[kind].some((other) => other.path !== null && overlaps(other.path, path)) ||
      !path.slice(0, 1).some(isGaName)
  }
  // The legacy API has function tools only, and an MCP tool contains credentials.
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

function readLifetime (
  kind: LegacyKind, given: Json = null
): Pick<LegacyRequest, 'expiresAfter' | 'expiresAfterPath'> {
  const secret = given ?? {}
  if (!isObject(secret)) return refuse('policy_violation', ['client_secret'])
  const names = Object.values(LIFETIME)
  const name = names.find((known) => Object.hasOwn(secret, known) && secret[known] !== null) ?? LIFETIME[kind]
  const { [name]: lifetime = null, ...others } = secret
  for (const other of names) if (others[other] === null) delete others[other]
  if (Object.keys(others).length > 0) refuse('policy_violation', ['client_secret', ...deepest(others)])
  const expiresAfter = withoutNulls(Lifetime, lifetime)
  return { expiresAfter, expiresAfterPath: ['client_secret', name] }
}

function deepest (value: JsonObject): Path {
  return leafPaths(value)[0] as Path
}

function refuse (code: ErrorCode, path: Path): never {
  throw new ApiError(code, { param: path.join('.').slice(0, MAX_PARAM_LENGTH) })
}
