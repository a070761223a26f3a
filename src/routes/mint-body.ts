// Reads a request body as a kind, a GA session and a lifetime. The route alone decides which shape is read.

import { ApiError, MAX_PARAM_LENGTH } from '../errors.ts'
import { deepestPath, getIn, isObject, type JsonObject, leafPaths, omitIn, type Path } from '../json.ts'
import type { Asked } from '../policy/apply.ts'
import { type LegacyKind, legacyParam, readLegacy } from '../realtime/legacy/request.ts'
import { Lifetime, withoutNulls } from '../realtime/nulls.ts'
import { type Kind, sessionSchemas } from '../realtime/session.ts'

export type ReadBody = (body: unknown) => Readonly<{ kind: Kind, asked: Asked }>

/** `{expires_after?, session?}`; the first of `kinds` is the default of `session.type`. */
export function readGa (kinds: readonly [Kind, ...Kind[]]): ReadBody {
  return (body) => {
    const { session: given, expires_after: lifetime, ...others } = bodyObject(body)
    const session = given ?? {}
    if (Object.keys(others).length > 0) throw new ApiError('policy_violation', { param: firstPath(others) })
    if (!isObject(session)) throw new ApiError('invalid_request', { param: 'session' })
    const { type, ...rest } = session
    const kind = kinds.find((known) => known === (type ?? kinds[0]))
    if (kind === undefined) throw new ApiError('invalid_request', { param: 'session.type' })
    return {
      kind,
      asked: {
        session: (withoutNulls(sessionSchemas[kind], rest) ?? {}) as JsonObject,
        expiresAfter: lifetime === undefined ? undefined : withoutNulls(Lifetime, lifetime),
        added: [],
        dropped: [],
        sessionParam: (path) => dotted(['session', ...path]),
        expiresAfterParam: 'expires_after'
      }
    }
  }
}

export function readLegacyBody (kind: LegacyKind): ReadBody {
  return (body) => {
    const { session, expiresAfter, expiresAfterPath, added, dropped } = readLegacy(kind, bodyObject(body))
    const sent = added.reduce(omitIn, session)
    const nameOf = (path: Path) => legacyName(kind, sent, path)
    return {
      kind,
      asked: {
        session,
        expiresAfter,
        added,
        dropped,
        sessionParam: (path) => nameOf(path).slice(0, MAX_PARAM_LENGTH),
        expiresAfterParam: dotted(expiresAfterPath)
      }
    }
  }
}

/** A GA path without a legacy name, such as `audio.output`, is named by the first member that was `sent` there. */
function legacyName (kind: LegacyKind, sent: JsonObject, path: Path): string {
  const name = legacyParam(kind, path)
  const isNested = path[0] === 'audio' && name === dotted(path)
  return isNested ? legacyParam(kind, deepestPath(path, getIn(sent, path))) : name
}

/** No body is `{}`. */
export function bodyObject (body: unknown): JsonObject {
  if (body === undefined) return {}
  if (!isObject(body)) throw new ApiError('invalid_request')
  return body
}

function firstPath (value: JsonObject): string {
  return dotted(leafPaths(value)[0] as Path)
}

function dotted (path: Path): string {
  return path.join('.').slice(0, MAX_PARAM_LENGTH)
}
