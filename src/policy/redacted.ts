// A session without the fields that hold a secret of the policy, for a store where secrets must not lie: such a field
// is known by its hash alone, and comes back from another copy of its value.

import { hash } from 'node:crypto'
import { isDeepStrictEqual } from 'node:util'
import { getIn, type JsonObject, leafPaths, omitIn, overlaps, type Path, withIn } from '../json.ts'
import { fieldOf } from '../realtime/session-fields.ts'
import { splitPath } from './compile.ts'
import type { Conceal } from './conceal.ts'
import type { CheckSession } from './session-check.ts'

/** `hidden`, by which name it is stored: dotted field → SHA-256 of its JSON, in hex. */
export type RedactedSession = Readonly<{ shown: JsonObject, hidden: Readonly<Record<string, string>> }>

export function redactSecrets (session: JsonObject, conceal: Conceal | null): RedactedSession {
  if (conceal === null) return { shown: session, hidden: {} }
  const concealed = conceal(session)
  const fields = new Map(leafPaths(session).map(fieldOf).map((field) => [field.join('.'), field]))
  const secret = [...fields].filter(([, field]) => !isDeepStrictEqual(getIn(session, field), getIn(concealed, field)))
  return {
    shown: secret.reduce((rest, [, field]) => omitIn(rest, field), session),
    hidden: Object.fromEntries(secret.map(([name, field]) => [name, digestOf(session, field)]))
  }
}

/** Takes redacted fields from `source` where it has the same value; `missing` are the others. */
export function restoreSecrets (
  { shown, hidden }: RedactedSession, source: JsonObject
): Readonly<{ session: JsonObject, missing: readonly Path[] }> {
  const fields = Object.entries(hidden).map(([name, digest]) => [splitPath(name), digest] as const)
  const isThere = ([field, digest]: typeof fields[number]) => digestOf(source, field) === digest
  return {
    session: fields.filter(isThere).reduce(
      (session, [field]) => withIn(session, field, getIn(source, field) as JsonObject), shown
    ),
    missing: fields.filter((field) => !isThere(field)).map(([field]) => field)
  }
}

/** The baseline that was redacted; `sent` has the value of a field that is another now. */
export function baselineOf (redacted: RedactedSession, latest: JsonObject, sent: JsonObject): JsonObject {
  const { session, missing } = restoreSecrets(redacted, latest)
  return missing.reduce((known, field) => {
    const value = getIn(sent, field)
    return value === undefined ? known : withIn(known, field, value)
  }, session)
}

/** Changes in these fields cannot be undone, since their values are unknown: they are reported. */
export function reportOnlyIn (fields: readonly Path[], checkSession: CheckSession): CheckSession {
  if (fields.length === 0) return checkSession
  const isUnknown = (path: Path) => fields.some((field) => overlaps(field, path))
  return (...asked) => {
    const { refused, reportedOnly, corrections, ...rest } = checkSession(...asked)
    return {
      ...rest,
      refused: refused.filter((path) => !isUnknown(path)),
      reportedOnly: [...reportedOnly, ...refused.filter(isUnknown)],
      corrections: corrections.filter(({ field }) => !isUnknown(field))
    }
  }
}

function digestOf (session: JsonObject, field: Path): string {
  return hash('sha256', String(JSON.stringify(getIn(session, field))))
}
