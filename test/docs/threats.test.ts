// docs/threats.md and the tests agree: no row without a test or a reason, no test without a row.

import t from 'tap'
import { read } from './pages.ts'
import { namesIn, PAGE, rowsOf, rowsWithoutTest, testsByRow, withTests } from './threats.ts'

const rows = rowsOf(read(PAGE))
const byRow = testsByRow()

t.test('every row of the threats has a test whose name begins with it, or a reason for having none', async (t) => {
  t.same(rowsWithoutTest(), rows.filter((row) => !byRow.has(row)), 'rows without a test, in the order of the page')
})

t.test('a row is linked to files that run, not to tables that they import', async (t) => {
  t.same([...byRow.values()].flat().filter((path) => !path.endsWith('.test.ts')), [])
})

t.test('a test names no row that the page does not have', async (t) => {
  // Invariants and rows of other tables (`field F1`) are listed elsewhere.
  const isElsewhere = (row: string) => row.startsWith('I') || /^[a-z]+ [A-Z]/.test(row)
  t.same([...byRow.keys()].filter((row) => !isElsewhere(row) && !rows.includes(row)), [])
})

t.test('rows are there once, and their column of tests is the one that npm run threats writes', async (t) => {
  t.ok(rows.length > 180)
  t.equal(new Set(rows).size, rows.length)
  t.equal(read(PAGE), withTests(read(PAGE), byRow))
})

t.test('only the name of a test that runs counts, also in a table of names', async (t) => {
  const rowsIn = (source: string) => namesIn(source).flatMap(({ rows }) => rows)
  t.same(rowsIn(`
    // t.test('A1: in a comment', async () => {})
    t.test('B1: skipped', { skip: true }, async () => {})
    t.test('B1: skipped', { skip: 'it fails' }, async (t) => t.test('B1: within', async () => {}))
    t.test('C1: without a body')
    t.equal(answer, 200, 'D1: the name of an assertion')
    const text = 'E1: no name of anything'
  `), [])
  t.same(rowsIn(`
    t.test('A1, fault 2: a name', { skip: NO_REDIS }, async () => {})
    browser.test(\`B1: a name with \${value}\`, async () => {})
    t.test('G1: a name ' + 'in two pieces', async () => {})
    const LAWS = { 'C1: a key': [['D1: the first item of a row', 200], ['E1: alone']] }
    const ROWS = [{ name: 'edge M3a: a property', answer: 'F1: a value' }]
  `), ['A1', 'fault 2', 'B1', 'G1', 'C1', 'D1', 'edge M3a'])
  t.match(namesIn("export const LAWS = { 'A1: a key': 1 }"), [{ within: 'LAWS' }])
})
