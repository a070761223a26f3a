// Plain JSON values and paths into them. Only own properties are ever read: a client chooses the names.

export type Json = null | boolean | number | string | Json[] | JsonObject
export type JsonObject = { [key: string]: Json }
export type Path = readonly string[]

export function isObject (value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** JSON that is one line for every reader: some end lines at U+2028, and terminals obey U+009B. */
export function escapeControls (json: string): string {
  return json.replace(/[\x7f-\x9f\u2028\u2029]/g, (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`)
}

/** The value at `path`, or undefined where there is none. */
export function getIn (value: Json, path: Path): Json | undefined {
  let at: Json | undefined = value
  for (const key of path) {
    if (!isObject(at) || !Object.hasOwn(at, key)) return undefined
    at = at[key]
  }
  return at
}

/** Writes into `target`, which the caller must own. A value on the path that is no object is replaced. */
export function setIn (target: JsonObject, path: Path, value: Json): void {
  let at = target
  for (const key of path.slice(0, -1)) {
    const next = Object.hasOwn(at, key) ? at[key] : undefined
    at = isObject(next) ? next : (at[key] = {})
  }
  at[path.at(-1) as string] = value
}

/** A copy of `value` with `inner` at `path`; shares everything off the path. */
export function withIn (value: JsonObject, path: Path, inner: Json, from = 0): JsonObject {
  const key = path[from] as string
  if (from === path.length - 1) return { ...value, [key]: inner }
  const next = Object.hasOwn(value, key) ? value[key] : undefined
  return { ...value, [key]: withIn(isObject(next) ? next : {}, path, inner, from + 1) }
}

/** A copy of `value` without the member at `path`; shares everything off the path. */
export function omitIn (value: JsonObject, path: Path): JsonObject {
  const [key, ...rest] = path
  if (key === undefined || !Object.hasOwn(value, key)) return value
  const { [key]: inner, ...others } = value
  if (rest.length === 0) return others
  return isObject(inner) ? { ...value, [key]: omitIn(inner, rest) } : value
}

/** `base` ⊕ `over`: objects merge, everything else replaces. Neither argument is changed. */
export function merge (base: JsonObject, over: JsonObject): JsonObject {
  const merged: JsonObject = { ...base }
  for (const [key, value] of Object.entries(over)) {
    const under = Object.hasOwn(base, key) ? base[key] : undefined
    merged[key] = isObject(under) && isObject(value) ? merge(under, value) : value
  }
  return merged
}

/** Every path of `value` that ends in something other than a non-empty object. Arrays are values. */
export function leafPaths (value: JsonObject, prefix: Path = []): Path[] {
  return Object.entries(value).flatMap(([key, inner]) =>
    isObject(inner) && Object.keys(inner).length > 0
      ? leafPaths(inner, [...prefix, key])
      : [[...prefix, key]])
}

/** `path`, the path of `value`, extended to the first leaf inside it. */
export function deepestPath (path: Path, value: Json | undefined): Path {
  return isObject(value) ? [...path, ...leafPaths(value)[0] ?? []] : path
}

/** The path that a JSON Pointer names (RFC 6901). `pointer` begins with a slash, or is empty. */
export function pointerPath (pointer: string): Path {
  return pointer.split('/').slice(1).map((key) => key.replaceAll('~1', '/').replaceAll('~0', '~'))
}

/** The schemas of which a value meets one: unions in unions are flattened. */
export function variantsOf<T extends { readonly anyOf?: readonly T[] }> (schema: T): readonly T[] {
  return schema.anyOf?.flatMap((variant) => variantsOf(variant)) ?? [schema]
}

/** True where one path is the other, or leads into it. */
export function overlaps (a: Path, b: Path): boolean {
  return a.every((key, i) => i >= b.length || key === b[i])
}

export function deepFreeze<T> (value: T): T {
  if (typeof value === 'object' && value !== null && !Object.isFrozen(value)) {
    Object.freeze(value)
    Object.values(value).forEach(deepFreeze)
  }
  return value
}
