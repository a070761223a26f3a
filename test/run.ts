// npm test [-- FILES or FOLDERS]: runs tap with options that its configuration cannot express.
// Pages in a browser take as long as a third of all others, so they run by `npm run test:browser`.
// The files of a room share processes (test/groups.ts): loading tap and the service takes longer than most of them.
// A test file that measures time has a line `// Runs alone: why`: after the others, beside few such files.
// One that tries a law in many rounds has a line `// Rounds: why`: it runs by `npm run laws`, or when it is asked for.
// With CI=true a skipped test fails and coverage must be complete. Otherwise skipped tests are listed and coverage is
// only reported.

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createWriteStream, existsSync, globSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { isUncounted, orderedGroups, removeGroups, separate, writeGroups } from './groups.ts'

const ROOT = join(import.meta.dirname, '..')
const RESULTS = join(ROOT, '.tap/results.tap')
const LIST = join(ROOT, '.tap/alone.txt')
const PARTIAL = ['--allow-incomplete-coverage', '--allow-empty-coverage']
const UNREPORTED = '--coverage-report=none'
const BROWSER = 'test/browser'

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

export function isRounds (source: string): boolean {
  return /^\/\/ Rounds: \S/m.test(source)
}

/** Options of tap. `isWhole`: all files run. */
export function gate ({ isStrict, isWhole }: Readonly<{ isStrict: boolean, isWhole: boolean }>): string[] {
  return [...isStrict ? ['--fail-skip'] : [], ...isStrict && isWhole ? [] : PARTIAL]
}

async function tap (options: readonly string[], files: readonly string[]): Promise<boolean> {
  // Where its output is a file or a pipe, tap would print each line of an output file there too.
  const isPiped = !process.stdout.isTTY
  const child = spawn('tap', [...options, ...isPiped ? [] : [`--output-file=${RESULTS}`], ...files], {
    cwd: ROOT,
    stdio: ['inherit', isPiped ? 'pipe' : 'inherit', 'inherit']
  })
  child.stdout?.pipe(process.stdout, { end: false })
  child.stdout?.pipe(createWriteStream(RESULTS))
  const [code] = await once(child, 'close') as [number | null]
  if (existsSync(RESULTS)) {
    for (const line of skippedIn(readFileSync(RESULTS, 'utf8'))) console.log(line)
  }
  return code === 0
}

if (import.meta.main) {
  mkdirSync(join(ROOT, '.tap'), { recursive: true })
  const asked = process.argv.slice(2)
  const isWhole = asked.length === 0
  const source = (path: string) => readFileSync(join(ROOT, path), 'utf8')
  const within = (folder: string) => globSync(`${folder}/**/*.test.ts`, { cwd: ROOT })
    .filter((path) => !isRounds(source(path)))
  const isFile = (path: string) => path.endsWith('.ts')
  const files = isWhole
    ? within('test').filter((path) => !path.startsWith(`${BROWSER}/`))
    : asked.flatMap((path) => isFile(path) ? [path] : within(path))
  if (files.length === 0) throw new Error(`no test files: ${asked.join(' ')}`)
  const alone = files.filter((path) => runsAlone(source(path)))
  const others = files.filter((path) => !alone.includes(path))
  const gated = [
    ...gate({ isStrict: process.env.CI === 'true', isWhole }), ...files.every(isUncounted) ? ['--disable-coverage'] : []
  ]
  removeGroups(ROOT)
  const together = writeGroups(ROOT, 'a', (asked.some(isFile) ? separate : orderedGroups)(others, source))
  const afterwards = writeGroups(ROOT, 'b', separate(alone, source))

  const steps = [
    { options: afterwards.length > 0 ? [...gated, ...PARTIAL, UNREPORTED] : gated, files: together },
    { options: [...gated, '--jobs=4', `--save=${LIST}`], files: afterwards }
  ]
  // Given a list of files, tap keeps the coverage of the run before.
  writeFileSync(LIST, afterwards.join('\n'))
  for (const { options, files } of steps) {
    if (files.length === 0) continue
    if (!await tap(options, files)) process.exitCode = 1
  }
  if (isWhole) console.log('not run: npm run test:browser, the pages in Chromium and Firefox')
}
