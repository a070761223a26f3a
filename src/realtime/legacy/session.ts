// Converts session objects of upstream's responses, GA ↔ legacy. Does not throw: values without a counterpart are
// left out, and so is a `client_secret` inside a session.

import { getIn, type JsonObject, setIn } from '../../json.ts'
import { FIELDS, type LegacyKind } from './fields.ts'
import { writeFields } from './request.ts'

const OBJECTS: Readonly<Record<LegacyKind, string>> = {
  realtime: 'realtime.session',
  transcription: 'realtime.transcription_session'
}

/** Without `temperature`, which a GA response does not have: the caller may add it from the request. */
export function sessionToLegacy (kind: LegacyKind, session: JsonObject): JsonObject {
  return { ...identity(kind, session), ...writeFields(kind, session) }
}

/** The session of a legacy upstream's response as a GA session, with its `type`. */
export function sessionFromLegacy (kind: LegacyKind, session: JsonObject): JsonObject {
  const ga: JsonObject = { type: kind, ...identity(kind, session) }
  for (const { name, path, read } of FIELDS[kind]) {
    const value = getIn(session, [name])
    const converted = value === undefined ? undefined : read(value)
    if (path !== null && converted !== undefined) setIn(ga, path, converted)
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
