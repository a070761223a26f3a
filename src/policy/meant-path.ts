// The path that was meant where a policy names a field as the beta did, or as a request does.

import { type Path } from '../json.ts'
import { FIELDS } from '../realtime/legacy/fields.ts'
import { isKnownPath, type Kind } from '../realtime/session.ts'

/** For `voice` or `session.audio.output.voice` that is `audio.output.voice`; null for a path that is neither. */
export function meantPath (kind: Kind, path: Path): Path | null {
  const [name = '', ...below] = withoutSession(path)
  const field = kind === 'translation' ? undefined : FIELDS[kind].find((one) => one.name === name)
  const candidates = field?.path ? [[...field.path, ...below], field.path] : [[name, ...below]]
  const meant = candidates.find((one) => isKnownPath(kind, one)) ?? path
  return meant.join('.') === path.join('.') ? null : meant
}

/** Paths of a policy begin inside the session. */
export function withoutSession (path: Path): Path {
  return path[0] === 'session' ? path.slice(1) : path
}
