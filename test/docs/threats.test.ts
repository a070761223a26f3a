// docs/threats.md and the tests agree: no row without a test or a reason, no test without a row.

import t from 'tap'
import { read } from './pages.ts'
import { PAGE, rowsOf, rowsWithoutTest, testsByRow, withTests } from './threats.ts'

const rows = rowsOf(read(PAGE))

t.test('every row of the threats has a test whose name begins with it, or a reason for having none', async (t) => {
  const byRow = testsByRow()
  t.same(rowsWithoutTest(), rows.filter((row) => !byRow.has(row)), 'rows without a test, in the order of the page')
})

t.test('a test names no row that the page does not have', async (t) => {
  // Invariants and rows of other tables (`field F1`) are listed elsewhere.
  const isElsewhere = (row: string) => row.startsWith('I') || /^[a-z]+ [A-Z]/.test(row)
  t.same([...testsByRow().keys()].filter((row) => !isElsewhere(row) && !rows.includes(row)), [])
})

t.test('rows are there once, and their column of tests is the one that npm run threats writes', async (t) => {
  t.ok(rows.length > 180)
  t.equal(new Set(rows).size, rows.length)
  t.equal(read(PAGE), withTests(read(PAGE)))
})
