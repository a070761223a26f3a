// The files of the coverage gate: all of src/ except the sandbox, which is not production code. None for a process that
// is not counted (test/groups.ts).

import { readdirSync } from 'node:fs'

const sources = readdirSync(new URL('../src', import.meta.url), { recursive: true })
  .filter((path) => path.endsWith('.ts') && !path.startsWith('sandbox/'))
  .map((path) => `src/${path}`)

export default (test) => test.endsWith('.uncounted.ts') ? null : sources
