// Test files that share a process: those of one room, by a file that imports them.

import { mkdirSync, statSync, writeFileSync } from 'node:fs'
import { join, relative } from 'node:path'

const FOLDER = '.tap/groups'
/** More would leave a processor idle at the end of a run. */
const FILES = 8
const SMALL = ['config', 'outbound', 'schema', 'support']
/** No test runs while a file is still loading: it may have changed the environment for a moment. */
const ENTRY = `import t from 'tap'
t.setTimeout(600_000)
const { promise, resolve } = Promise.withResolvers()
t.test('every file of the group is loaded', async (t) => t.ok(await promise))
IMPORTS
resolve(true)
`

export type Group = Readonly<{ name: string, files: string[] }>

/** A file that sets an option of tap for all its tests would set it for the other files too. */
export function hasOwnProcess (source: string): boolean {
  return /^t\.(jobs|setTimeout|before|teardown)\b/m.test(source)
}

export function groupsOf (files: readonly string[]): Group[] {
  return [...Map.groupBy(files.toSorted(), roomOf)].flatMap(([room, members]) => {
    const parts = Math.ceil(members.length / FILES)
    return Array.from({ length: parts }, (_, part) => ({
      name: `${room}-${part + 1}`, files: members.filter((_path, i) => i % parts === part)
    }))
  })
}

/** Rooms with a file or two share a process with the files outside of rooms. */
function roomOf (path: string, _index: number): string {
  const room = path.split('/')[1] as string
  return SMALL.includes(room) || room.endsWith('.ts') ? 'others' : room
}

/** Writes a file for each group, and returns their paths: largest first, so that none is waited for at the end. */
export function writeGroups (root: string, files: readonly string[]): string[] {
  mkdirSync(join(root, FOLDER), { recursive: true })
  const bytes = ({ files }: Group) => files.reduce((sum, file) => sum + statSync(join(root, file)).size, 0)
  return groupsOf(files).sort((a, b) => bytes(b) - bytes(a)).map(({ name, files }) => {
    const path = `${FOLDER}/${name}.ts`
    const imports = files.map((file) => `await import('${relative(FOLDER, file)}')`)
    writeFileSync(join(root, path), ENTRY.replace('IMPORTS', imports.join('\n')))
    return path
  })
}
