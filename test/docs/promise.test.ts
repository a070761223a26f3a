// Each cell of the table of attacks in docs/calls.md names tests that exist.

import { existsSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { read, ROOT, section, tableRows } from './pages.ts'

const WORDS = ['prevented', 'corrected', 'cancelled', 'deleted', 'ended', 'reported', 'not seen']
const rows = tableRows(section('docs/calls.md', 'What is prevented, and what is not'))
const LINK = /\[([^\]]+)]\(\.\.\/([^) ]+) "([^"]+)"\)/g

/** The names of the tests of a file, as patterns where they are template strings. */
function namesIn (path: string): RegExp[] {
  const escaped = (text: string) => text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')
  return [...read(path).matchAll(/\bt\.test\(\s*(?:'((?:[^'\\]|\\.)*)'|`([^`]*)`)/g)].map(([, quoted, template]) => {
    const parts = template === undefined ? [(quoted as string).replace(/\\(.)/g, '$1')] : template.split(/\$\{[^}]*}/)
    return new RegExp(`^${parts.map(escaped).join('.+')}$`)
  })
}

t.test('the table of attacks has a word of the field, and the name of a test that exists, in each cell', async (t) => {
  t.ok(rows.length > 10)
  for (const [attack = '', ...cells] of rows) {
    t.equal(cells.length, 3, attack)
    for (const cell of cells) {
      const links = [...cell.matchAll(LINK)]
      t.ok(links.length > 0, `${attack}: ${cell}`)
      for (const [, word = '', path = '', name = ''] of links) {
        t.ok(WORDS.some((known) => word.startsWith(known)), word)
        t.ok(existsSync(join(ROOT, path)) && namesIn(path).some((pattern) => pattern.test(name)), `${path}: ${name}`)
      }
    }
  }
})

t.test('without a data channel nothing that needs one is left to be corrected', async (t) => {
  const byEvents = rows.filter(([attack = '']) => attack.startsWith('`') || attack.startsWith('an event'))
  for (const [attack = '', , , audioOnly] of byEvents) t.match(audioOnly, /^\[prevented]/, attack)
})
