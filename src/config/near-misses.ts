// Variables that nothing reads, and whose name is almost that of one of ours that is not set.

import type { Environment } from './secrets.ts'

export type NearMiss = Readonly<{ variable: string, meant: string }>

export function nearMisses (env: Environment, ours: ReadonlySet<string>): NearMiss[] {
  return Object.keys(env).flatMap((variable) => {
    // Names of proxies are read in both cases.
    if (ours.has(variable) || (/_proxy$/.test(variable) && ours.has(variable.toUpperCase()))) return []
    const meant = [...ours].find((name) => (env[name] ?? '') === '' && isAlike(plain(variable), plain(name)))
    return meant === undefined ? [] : [{ variable, meant }]
  })
}

function plain (name: string): string {
  return name.toUpperCase().replaceAll('_', '')
}

/** The longer a name, the more of it may differ, at one place. */
function isAlike (one: string, other: string): boolean {
  const [shorter, longer] = one.length < other.length ? [one, other] : [other, one]
  let head = 0
  while (head < shorter.length && shorter[head] === longer[head]) head++
  let tail = 0
  while (tail < shorter.length - head && shorter.at(-1 - tail) === longer.at(-1 - tail)) tail++
  const tolerated = longer.length >= 10 ? 2 : longer.length >= 8 ? 1 : 0
  return longer.length - head - tail <= tolerated
}
