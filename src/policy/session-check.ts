// Checks the session of a call, as the API reports it, by the rules of a request: a difference counts as if the client
// had asked for it at the start. Every path is checked, not only up to the first fault.

import { isDeepStrictEqual } from 'node:util'
import {
  getIn, isObject, type Json, type JsonObject, leafPaths, merge, omitIn, overlaps, type Path, variantsOf, withIn
} from '../json.ts'
import { takesNull } from '../realtime/nulls.ts'
import { isKnownPath, schemaAt } from '../realtime/session.ts'
import {
  emptyOf, fieldOf, isContainer, isDefault, isReportedOnly, NOT_COMPARED, withoutNullMembers
} from '../realtime/session-fields.ts'
import { type Asked, type Checked, checkValue, configuredBy, type Granted, isFiniteThroughout } from './apply.ts'
import { type RuleNode, type SessionRules, splitPath } from './compile.ts'

/** `value` undoes the change of this field; undefined if no value does. */
export type Correction = Readonly<{ field: Path, value: Json | undefined }>

export type CheckedSession = Readonly<{
  /** The session before, with the changes that the client was allowed. */
  baseline: JsonObject
  refused: readonly Path[]
  /** Changes at paths that the policy ignores. */
  ignored: readonly Path[]
  /** Changes that are reported and no more. */
  reportedOnly: readonly Path[]
  /** For each field with a refused or ignored change. */
  corrections: readonly Correction[]
}>

/** `isOurs`: whether a field has a value that the policy had put there, now or before. */
export type CheckSession = (
  baseline: JsonObject, now: JsonObject, isOurs?: (field: Path, value: Json) => boolean
) => CheckedSession

export type Grant = Readonly<{ claims: JsonObject, asked: Asked, granted: Granted }>

/** More are not tried one by one: each doubles the work. */
const MAX_TRIED = 6

/** `granted.session` is the session that was sent. */
export function createSessionCheck (
  rules: SessionRules, { claims, asked, granted: { session: sent } }: Grant
): CheckSession {
  const { fixed, profile, defaults } = configuredBy(rules, claims, asked)
  const configured = merge(merge(defaults(), profile), fixed)
  // A prompt overrides the client, whatever is allowed.
  const held = leafPaths(profile)
  const allowed = Object.keys(rules.allowed).map(splitPath)

  function isAllowed (rule: RuleNode, path: Path, now: Json | undefined, before: Json | undefined): boolean {
    const accepts = rule.accepts as NonNullable<RuleNode['accepts']>
    if (now === undefined || now === null) {
      // Where the API takes no null, null counts as not set, as in a request.
      const isUnset = !isKnownPath(rules.kind, path) || !takesNull(variantsOf(schemaAt(rules.kind, path)))
      return accepts(null) || (isUnset && getIn(configured, path) === undefined)
    }
    if (!isFiniteThroughout(now)) return false
    return accepts(now) || (isObject(now) && canBeAsked(now, before, rule, path))
  }

  function correctValue (baseline: JsonObject, field: Path): Json | undefined {
    const now = getIn(baseline, field) ?? null
    const before = now === null ? undefined : withoutNullMembers(now)
    const inside = allowed.filter((path) => overlaps(path, field))
    const original = getIn(sent, field)
    if (inside.some(({ length }) => length <= field.length) || (original === undefined && inside.length > 0)) {
      return before ?? emptyOf(field)
    }
    if (original === undefined) {
      const empty = emptyOf(field)
      return empty === undefined ? before : empty
    }
    // The client's own choices as they are now.
    return inside.reduce<Json>((value, path) => {
      const [now, at] = [getIn(baseline, path) ?? null, path.slice(field.length)]
      if (!isObject(value)) return value
      return now === null ? omitIn(value, at) : withIn(value, at, withoutNullMembers(now))
    }, original)
  }

  return (before, now, isOurs = () => false) => {
    const differing = (differenceOf(before, now, sent) ?? {}) as JsonObject
    const changed = fieldsOf(differing).filter((field) => isOurs(field, getIn(now, field) ?? null))
      .reduce(omitIn, differing)
    const faults = leafPaths(changed).filter((path) => held.some((other) => overlaps(path, other)))
    const checked: Checked = { accepted: [], ignored: [] }
    checkValue(faults.reduce(omitIn, changed), rules.client, [], [], {
      added: [],
      accepts: (rule, _value, path) => isAllowed(rule, path, getIn(now, path), getIn(before, path)),
      refuse: (path) => { faults.push(path) },
      checked
    })
    const isToReport = (path: Path) =>
      isReportedOnly(path) || (!isKnownPath(rules.kind, path) && getIn(sent, path) === undefined)
    const ignored = checked.ignored.map(splitPath)
    const refused = faults.filter((path) => !isToReport(path))
    const reportedOnly = faults.filter(isToReport)
    const fieldsWith = (paths: readonly Path[]) => fieldsOf(changed).filter(
      (field) => paths.some((path) => overlaps(path, field))
    )
    const reset = fieldsWith([...faults, ...ignored])
    const baseline = checked.accepted.filter(([path]) => reset.some((field) => isInside(path, field))).reduce(
      (session, [path]) => put(session, path, getIn(now, path)),
      reset.reduce((session, field) => put(session, field, getIn(before, field)), now)
    )
    return {
      baseline,
      refused,
      ignored,
      reportedOnly,
      corrections: fieldsWith([...refused, ...ignored]).map((field) =>
        ({ field, value: correctValue(baseline, field) }))
    }
  }
}

/** The part of `now` that is not as before: undefined if none, null for members that are gone, which count as null. */
function differenceOf (
  before: Json | undefined, now: Json | undefined, sent: Json | undefined, path: Path = []
): Json | undefined {
  if (!isContainer(path) && !isObject(now)) {
    if (now === undefined) return before === undefined || isEmpty(before) ? undefined : null
    return before !== undefined && isSame(before, now) ? undefined : now
  }
  const [old, current, asked] = [before, now, sent].map(membersOf) as [JsonObject, JsonObject, JsonObject]
  const keys = [...new Set([...Object.keys(old), ...Object.keys(current)])]
  const members = keys.flatMap((key) => {
    if (path.length === 0 && NOT_COMPARED.has(key)) return []
    const at = [...path, key]
    const [was, is] = [own(old, key), own(current, key)]
    if (was === undefined && is !== undefined && isDefault(at, is, current)) return []
    // When the type of an object changes, the API removes the defaults of the old type.
    if (was !== undefined && is === undefined && own(asked, key) === undefined && isDefault(at, was, old)) return []
    const found = differenceOf(was, is, own(asked, key), at)
    return found === undefined ? [] : [[key, found] as const]
  })
  if (members.length > 0) return Object.fromEntries(members)
  return isContainer(path) || before === undefined || isObject(before) ? undefined : now
}

/** Whether the client may have asked for `now` without some of the members that the API fills in. */
function canBeAsked (now: JsonObject, before: Json | undefined, rule: RuleNode, path: Path): boolean {
  const { accepts, names, listsObjects } = rule as RuleNode & Required<Pick<RuleNode, 'accepts'>>
  const isNamed = (at: Path) => names?.has([...path, ...at].join('.')) === true
  const filled = filledIn(now, listsObjects === true ? undefined : before, path)
  const ordered = [...filled.filter(isNamed), ...filled.filter((at) => !isNamed(at))]
  const rest = ordered.slice(MAX_TRIED).reduce(omitIn, withoutNullMembers(now) as JsonObject)
  const some = (value: JsonObject, [first, ...others]: readonly Path[]): boolean => first === undefined
    ? accepts(value)
    : some(value, others) || some(omitIn(value, first), others)
  return some(rest, ordered.slice(0, MAX_TRIED))
}

/** Paths, relative to `value`, of members that the API may have filled in, and of those that are as before. */
function filledIn (value: JsonObject, before: Json | undefined, path: Path, at: Path = []): Path[] {
  return Object.keys(value).flatMap((key) => {
    const here = [...at, key]
    const [inner, was] = [own(value, key), isObject(before) ? own(before, key) : undefined]
    if (inner === undefined) return []
    const isOld = was !== undefined && isSame(was, inner)
    if (isOld || isDefault([...path, ...here], inner, value)) return [here]
    return isObject(inner) ? filledIn(inner, was, path, here) : []
  })
}

function fieldsOf (changed: JsonObject): Path[] {
  const fields = leafPaths(changed).map(fieldOf)
  return [...new Map(fields.map((field) => [field.join('.'), field])).values()]
}

function isInside (path: Path, field: Path): boolean {
  return path.length > field.length && overlaps(path, field)
}

function put (session: JsonObject, path: Path, value: Json | undefined): JsonObject {
  return value === undefined ? omitIn(session, path) : withIn(session, path, value)
}

function membersOf (value: Json | undefined): JsonObject {
  return isObject(value) ? value : {}
}

function own (value: JsonObject, key: string): Json | undefined {
  return Object.hasOwn(value, key) ? value[key] ?? undefined : undefined
}

export function isSame (a: Json, b: Json): boolean {
  return a === b || isDeepStrictEqual(withoutNullMembers(a), withoutNullMembers(b))
}

function isEmpty (value: Json): boolean {
  return isObject(value) && Object.values(value).every((inner) => inner === null || isEmpty(inner))
}
