// The processes of a run: which test files share one, and which start first. Each is a file that imports test files.

import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join, relative } from 'node:path'

const FOLDER = '.tap/groups'
const UNCOUNTED_SUFFIX = '.uncounted'
const SMALL = ['config', 'docs', 'outbound', 'realtime', 'records', 'reference', 'schema', 'support', 'tracing']
/**
 * What they test is outside the coverage gate, or runs in processes of its own. Some load the compiler of TypeScript,
 * which takes several times as long where coverage is measured.
 */
const UNCOUNTED = [
  /^test\/(browser|sandbox)\//, /^test\/calls\/replica(s|-faults)\./, /^test\/docs\/(commands|pages|promise|threats)\./,
  /^test\/(caddy|compose|conventions|deploy|github|haproxy|kubernetes|monitoring|nginx)\./
]
/** Their tests wait for timers, leases and deadlines of other processes, most of the time without work. */
const WAITING = /^test\/(calls|faults)\//
/** How much longer tests take than the size of their files says. */
const FACTORS: readonly (readonly [path: RegExp, factor: number])[] = [
  [/^test\/browser\//, 8], [/^test\/(faults\/|calls\/(adoption|sharing)\.|(caddy|compose|haproxy|nginx)\.)/, 4],
  [/^test\/calls\//, 1.5], [/^test\/(callers|policy|routes|rulebook)\//, 0.3]
]
const FACTOR_OF_FIRST = 30
/** Weight of a process. More would leave a processor idle at the end of a run, less cost a start. */
const MOST = 200_000
/**
 * Compiling packages is half of the time of a process. What is compiled without coverage has no counters, so it has
 * another cache. What comes from either cache has none in module bodies (test/conventions.test.ts). Services that the
 * sandbox starts have the cache of its process.
 */
const CACHES = { isCounted: '.tap/compile-cache-counted', isNot: '.tap/compile-cache' }
/** No test runs while a file is still loading: it may have changed the environment for a moment. */
const ENTRY = `import { enableCompileCache } from 'node:module'
enableCompileCache('CACHE')
CHILDREN
const { default: t } = await import('tap')
t.setTimeout(600_000)
const { promise, resolve } = Promise.withResolvers()
t.test('every file of the group is loaded', async (t) => t.ok(await promise))
IMPORTS
resolve(true)
`

export type Group = Readonly<{ name: string, files: string[] }>

export function startsFirst (source: string): boolean {
  return /^\/\/ Starts first: \S/m.test(source)
}

/** A file that prepares something for all its tests would let those of other files wait. */
export function hasOwnProcess (source: string): boolean {
  return /^t\.(setTimeout|before)\b/m.test(source) || startsFirst(source)
}

/** A name for those that can share a process, by the path and the source of a file. */
function processOf (path: string, source: string): string {
  if (hasOwnProcess(source)) return ownName(path)
  const [, jobs] = /^t\.jobs = (\d+)$/m.exec(source) ?? []
  // Their tests run side by side, whatever file they are in.
  if (jobs !== undefined) return `${jobs}-at-once`
  return roomOf(path)
}

export function ownName (path: string): string {
  return path.replace(/^test\//, '').replace(/\.test\.ts$/, '').replaceAll('/', '-')
}

/** Rooms with a few files share a process with the files outside of rooms. */
function roomOf (path: string): string {
  const room = path.split('/')[1] as string
  return SMALL.includes(room) || room.endsWith('.ts') ? 'others' : room
}

function isWaiting (path: string): boolean {
  return WAITING.test(path)
}

export function isUncounted (path: string): boolean {
  return UNCOUNTED.some((pattern) => pattern.test(path))
}

/** Guesses the time that tests take, from the sizes of their files. */
function weigh (files: readonly string[], sourceOf: (path: string) => string): number {
  return files.reduce((sum, path) => {
    const source = sourceOf(path)
    const [, factor = 1] = FACTORS.find(([pattern]) => pattern.test(path)) ?? []
    return sum + source.length * (startsFirst(source) ? FACTOR_OF_FIRST : factor)
  }, 0)
}

export function groupsOf (files: readonly string[], sourceOf: (path: string) => string): Group[] {
  const weight = (paths: readonly string[]) => weigh(paths, sourceOf)
  const heaviestFirst = files.toSorted().toSorted((a, b) => weight([b]) - weight([a]))
  const keyOf = (path: string) => `${isUncounted(path)} ${processOf(path, sourceOf(path))}`
  return [...Map.groupBy(heaviestFirst, keyOf)].flatMap(([key, members]) => {
    const [, name = ''] = key.split(' ')
    const count = Math.min(members.length, Math.ceil(weight(members) / MOST) || 1)
    const parts = Array.from({ length: count }, (): string[] => [])
    for (const path of members) parts.reduce((least, part) => weight(part) < weight(least) ? part : least).push(path)
    return parts.map((files, i) => ({ name: count === 1 ? name : `${name}-${i + 1}`, files }))
  })
}

/**
 * In the order in which they start: those that wait and those that work side by side from first to last, so that no
 * processor is idle. Of each kind come first those that ask for it, then the longest, so that none is waited for.
 */
export function orderedGroups (files: readonly string[], sourceOf: (path: string) => string): Group[] {
  const weight = ({ files }: Group) => weigh(files, sourceOf)
  const isFirst = ({ files }: Group) => files.some((path) => startsFirst(sourceOf(path)))
  const kinds = Map.groupBy(groupsOf(files, sourceOf), ({ files }) => files.some(isWaiting))
  return [...kinds.values()].flatMap((groups) => {
    const total = weigh(groups.flatMap(({ files }) => files), sourceOf)
    let before = 0
    const ordered = groups.toSorted((a, b) => Number(isFirst(b)) - Number(isFirst(a)) || weight(b) - weight(a))
    return ordered.map((group) => {
      const startsAt = before / total
      before += weight(group)
      return { group, startsAt }
    })
  }).toSorted((a, b) => a.startsAt - b.startsAt).map(({ group }) => group)
}

/** Each file by itself, those that take longest first. */
export function separate (files: readonly string[], sourceOf: (path: string) => string): Group[] {
  const isFirst = (path: string) => startsFirst(sourceOf(path))
  const ordered = [...files.filter(isFirst), ...files.filter((path) => !isFirst(path))]
  return ordered.map((path) => ({ name: ownName(path), files: [path] }))
}

/**
 * Writes a file for each group, and returns their paths. tap runs files in the order of their names: these begin with
 * `step` and a number. test/coverage-map.js knows those without coverage by their names.
 */
export function writeGroups (root: string, step: string, groups: readonly Group[]): string[] {
  mkdirSync(join(root, FOLDER), { recursive: true })
  return groups.map(({ name, files }, i) => {
    const isCounted = !files.some(isUncounted)
    const number = `${step}${String(i + 1).padStart(2, '0')}`
    const path = `${FOLDER}/${number}-${name}${isCounted ? '' : UNCOUNTED_SUFFIX}.ts`
    const imports = files.map((file) => `await import('${relative(FOLDER, file)}')`)
    const cache = join(root, isCounted ? CACHES.isCounted : CACHES.isNot)
    const children = isCounted ? '' : `process.env.NODE_COMPILE_CACHE = '${cache}'`
    writeFileSync(join(root, path), ENTRY.replace('CACHE', cache).replace('CHILDREN', children)
      .replace('IMPORTS', imports.join('\n')))
    return path
  })
}

/** Removes the groups of an earlier run. */
export function removeGroups (root: string): void {
  rmSync(join(root, FOLDER), { recursive: true, force: true })
}
