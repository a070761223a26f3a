// The processes of a run: which test files share one, and which start first. Each is a file that imports test files.

import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join, relative } from 'node:path'

const FOLDER = '.tap/groups'
const UNCOUNTED_SUFFIX = '.uncounted'
/** More would leave a processor idle at the end of a run, fewer cost a start. */
const FILES = 10
const SMALL = ['config', 'docs', 'outbound', 'realtime', 'records', 'reference', 'schema', 'support', 'tracing']
/** What they test is outside the coverage gate, or runs in processes of its own. */
const UNCOUNTED = /^test\/((browser|sandbox)\/|calls\/replica(s|-faults)\.|(caddy|compose|haproxy|nginx)\.)/
const SLOW = new RegExp(`${UNCOUNTED.source}|^test/(calls|faults)/`)
/**
 * Compiling packages is half of the time of a process. What is compiled without coverage has no counters, so it has
 * another cache. What comes from either cache has none in module bodies (test/conventions.test.ts).
 */
const CACHES = { isCounted: '.tap/compile-cache-counted', isNot: '.tap/compile-cache' }
/** No test runs while a file is still loading: it may have changed the environment for a moment. */
const ENTRY = `import { enableCompileCache } from 'node:module'
enableCompileCache('CACHE')
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

export function isUncounted (path: string): boolean {
  return UNCOUNTED.test(path)
}

export function groupsOf (files: readonly string[], sourceOf: (path: string) => string): Group[] {
  const keyOf = (path: string) => `${isUncounted(path)} ${processOf(path, sourceOf(path))}`
  return [...Map.groupBy(files.toSorted(), keyOf)].flatMap(([key, members]) => {
    const [, name = ''] = key.split(' ')
    const parts = Math.ceil(members.length / FILES)
    return Array.from({ length: parts }, (_, part) => ({
      name: parts === 1 ? name : `${name}-${part + 1}`, files: members.filter((_path, i) => i % parts === part)
    }))
  })
}

/** In the order in which they start: what waits longest, then the largest, so that none is waited for at the end. */
export function orderedGroups (files: readonly string[], sourceOf: (path: string) => string): Group[] {
  const weight = ({ files }: Group) => {
    const sources = files.map(sourceOf)
    const bytes = sources.reduce((sum, { length }) => sum + length, 0)
    // Tests of browsers, calls, faults and other programs take longer than their size says.
    return sources.some(startsFirst) ? Infinity : files.some((path) => SLOW.test(path)) ? 4 * bytes : bytes
  }
  return groupsOf(files, sourceOf).map((group) => ({ group, weight: weight(group) }))
    .toSorted((a, b) => a.weight === b.weight ? 0 : b.weight - a.weight)
    .map(({ group }) => group)
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
    writeFileSync(join(root, path), ENTRY.replace('CACHE', cache).replace('IMPORTS', imports.join('\n')))
    return path
  })
}

/** What an earlier run wrote is not run again. */
export function removeGroups (root: string): void {
  rmSync(join(root, FOLDER), { recursive: true, force: true })
}
