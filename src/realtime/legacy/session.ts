// Session objects as upstream answers them, GA ↔ legacy. Total: what upstream says is shown where it can be translated
// and left out where it cannot. A `client_secret` inside a session is never carried over.

import { getIn, type JsonObject, setIn } from '../../json.ts'
import { FIELDS, type LegacyKind } from './fields.ts'
import { writeFields } from './request.ts'

const OBJECTS: Readonly<Record<LegacyKind, string>> = {
  realtime: 'realtime.session',
  transcription: 'realtime.transcription_session'
}

/** `temperature` is not in a GA answer: whoever knows what was asked may add it. */
export function sessionToLegacy (kind: LegacyKind, session: JsonObject): JsonObject {
  return { ...identity(kind, session), ...writeFields(kind, session) }
}

/** The answer of a legacy upstream as a GA session, with its `type`. */
export function sessionFromLegacy (kind: LegacyKind, session: JsonObject): JsonObject {
  const ga: JsonObject = { type: kind, ...identity(kind, session) }
  for (const { name, path, read } of FIELDS[kind]) {
    const value = getIn(session, [name])
    const translated = value === undefined ? undefined : read(value)
    if (path !== null && translated !== undefined) setIn(ga, path, translated)
  }
  return ga
}

function identity (kind: LegacyKind, session: JsonObject): JsonObject {
  const { id, expires_at: expiresAt } = session
  return {
    object: OBJECTS[kind],
    ...(id === undefined ? {} : { id }),
    ...(expiresAt === undefined ? {} : { expires_at: expiresAt })
  }
}
