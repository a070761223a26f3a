// The pages: the README is short, its limits come first, links lead somewhere, and the language is plain.

import t from 'tap'
import { brokenLinks, CONTRIBUTORS_PAGES, PAGES, prose, read, tableRows } from './pages.ts'

const README = read('README.md').split('\n')

t.test('the README has at most 200 lines, and says what it does not protect within the first 80', async (t) => {
  t.ok(README.length - 1 <= 200, `${README.length - 1} lines`)
  const line = README.indexOf('## What it does not protect') + 1
  t.ok(line > 0 && line <= 80, `in line ${line}`)
  const end = README.findIndex((text, i) => i >= line && text.startsWith('## '))
  t.ok(end <= 80, `it ends in line ${end}`)
})

t.test('the README lists every page once', async (t) => {
  const listed = tableRows(read('README.md')).map(([page = '']) => /\((.*)\)/.exec(page)?.[1])
  t.same(listed.sort(), PAGES.filter((page) => page !== 'README.md'))
})

for (const page of [...PAGES, ...CONTRIBUTORS_PAGES, 'CHANGELOG.md']) {
  t.test(`every link of ${page} leads to a file and a heading that exist`, async (t) => {
    t.same(brokenLinks(page), [])
  })

  t.test(`${page} is in plain English`, async (t) => {
    const text = prose(page).replace(/`[^`]*`/g, '')
    t.same(text.match(/\b(anew|whoever|nobody|of whom|all the same|judged?|surroundings|salvage)\b/gi) ?? [], [])
  })
}
