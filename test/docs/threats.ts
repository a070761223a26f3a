// The rows of docs/threats.md and their tests, found by name. `npm run threats` writes the last column of the page.

import { globSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { read, ROOT, section, tableRows } from './pages.ts'

export const PAGE = 'docs/threats.md'
const ROW = /(?:fault |[a-z]+ [A-Z]|[A-I])\d+[a-z]?/.source
/** A text that begins as the name of a test does: with one row, or several. */
const NAMED = new RegExp(`['"\`](${ROW}(?:, ${ROW})*)(?::? )`, 'g')

/** Which files have tests of a row. */
export function testsByRow (): Map<string, string[]> {
  const found = new Map<string, string[]>()
  for (const path of globSync('test/**/*.ts', { cwd: ROOT }).sort()) {
    if (path.startsWith('test/docs/')) continue
    const rows = [...read(path).matchAll(NAMED)].flatMap(([, names = '']) => names.split(', '))
    for (const row of new Set(rows)) found.set(row, [...found.get(row) ?? [], path])
  }
  return found
}

const LINE = new RegExp(`^\\| (${ROW}) \\|(.*\\|)[^|]*\\|$`, 'gm')

/** Row numbers in the order of the page. */
export function rowsOf (page: string): string[] {
  return [...tests(page).matchAll(LINE)].map(([, row = '']) => row)
}

/** The rows that the page says have no test. */
export function rowsWithoutTest (): string[] {
  const [all = ''] = section(PAGE, 'What has no test').split('Parts of rows')
  return tableRows(all).flatMap(([rows = '']) => rows.split(', '))
}

/** The page with its last column as it should be. */
export function withTests (page: string): string {
  const byRow = testsByRow()
  const top = tests(page)
  const links = (row: string) => (byRow.get(row) ?? []).map(link).join(', ') || '–'
  const withLinks = top.replace(LINE, (_, row: string, middle: string) => `| ${row} |${middle} ${links(row)} |`)
  return withLinks + page.slice(top.length)
}

function tests (page: string): string {
  return page.slice(0, page.indexOf('\n## What has no test'))
}

function link (path: string): string {
  return `[${path.replace(/^test\/|(\.test)?\.ts$/g, '')}](../${path})`
}

if (import.meta.main) {
  writeFileSync(join(ROOT, PAGE), withTests(read(PAGE)))
  console.log(`${PAGE} is written`)
}
