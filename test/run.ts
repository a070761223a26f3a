// npm test [-- FILES]: runs tap with options that its configuration cannot express.
// A test file that measures time has a line `// Runs alone: why` and runs without others beside it.
// With CI=true a skipped test fails and coverage must be complete. Otherwise skipped tests are listed and coverage is
// only reported.

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, globSync, mkdirSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'

const ROOT = join(import.meta.dirname, '..')
const RESULTS = join(ROOT, '.tap/results.tap')

/** Each reason for which tests were skipped, and under it their names, from raw TAP. */
export function skippedIn (results: string): string[] {
  const skipped = results.matchAll(/^ *ok \d+ - (?<name>.*?) # SKIP (?<reason>.+)$/gm)
  return [...Map.groupBy(skipped, ({ groups }) => groups?.reason)].flatMap(([reason, tests]) => [
    `${tests.length} skipped: ${reason}`,
    ...tests.map(({ groups }) => `  ${groups?.name}`)
  ])
}

export function runsAlone (source: string): boolean {
  return /^\/\/ Runs alone: \S/m.test(source)
}

if (import.meta.main) {
  const alone = globSync('test/**/*.test.ts', { cwd: ROOT })
    .filter((path) => runsAlone(readFileSync(join(ROOT, path), 'utf8')))
  const gate = process.env.CI === 'true' ? ['--fail-skip'] : ['--allow-incomplete-coverage']
  mkdirSync(join(ROOT, '.tap'), { recursive: true })
  rmSync(RESULTS, { force: true })
  const options = [...gate, ...alone.map((path) => `--serial=${path}`), `--output-file=${RESULTS}`]
  const child = spawn('tap', [...options, ...process.argv.slice(2)], { cwd: ROOT, stdio: 'inherit' })
  const [code] = await once(child, 'exit') as [number | null]
  for (const line of existsSync(RESULTS) ? skippedIn(readFileSync(RESULTS, 'utf8')) : []) console.log(line)
  process.exitCode = code ?? 1
}
