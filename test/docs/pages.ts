// README and docs as the tests read them: headings, links, and the blocks between fences.

import { existsSync, globSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'

export const ROOT = join(import.meta.dirname, '../..')
export const PAGES = ['README.md', ...globSync('docs/*.md', { cwd: ROOT }).sort()]

export const CONTRIBUTORS_PAGES = ['.github/CONTRIBUTING.md', '.github/SECURITY.md']

export const read = (path: string): string => readFileSync(join(ROOT, path), 'utf8')

export type Block = Readonly<{ page: string, language: string, text: string }>

export const BLOCKS: readonly Block[] = PAGES.flatMap((page) => {
  const found = [...read(page).matchAll(/^```(\S*)\n([^]*?)^```$/gm)]
  return found.map(([, language = '', text = '']) => ({ page, language, text }))
})

/** The lines of those `sh` blocks of a page that contain a text. */
export function shellLines (page: string, contains = ''): string[] {
  const found = [...read(page).matchAll(/^```sh\n([^]*?)^```$/gm)].map(([, lines = '']) => lines)
  return found.filter((lines) => lines.includes(contains)).flatMap((lines) => lines.trim().split('\n'))
}

/** The page without its fenced blocks. */
export function prose (page: string): string {
  return read(page).replace(/^```[^]*?^```$/gm, '')
}

/** The rows of all tables of a page, each cell trimmed; heads and rules are left out. */
export function tableRows (text: string): string[][] {
  const cells = (line: string) => line.split('|').slice(1, -1).map((cell) => cell.trim())
  const rows = text.split('\n').map((line) => line.startsWith('|') ? cells(line) : null)
  return rows.filter((row, i): row is string[] => row !== null && !isRule(row) && !isRule(rows[i + 1] ?? null))
}

function isRule (row: readonly string[] | null): boolean {
  return row !== null && row.every((cell) => /^-+$/.test(cell))
}

/** The part of a page below a heading, up to the next of the same depth. */
export function section (page: string, heading: string): string {
  const text = read(page)
  const [found = '', marks = ''] = new RegExp(`^(#+) ${heading}$`, 'm').exec(text) ?? []
  if (found === '') throw new Error(`${page} has no heading ${heading}`)
  const from = text.indexOf(found) + found.length
  const end = text.slice(from).search(new RegExp(`^#{1,${marks.length}} `, 'm'))
  return end === -1 ? text.slice(from) : text.slice(from, from + end)
}

/** The anchors of headings, as GitHub makes them. */
export function anchors (page: string): string[] {
  return [...prose(page).matchAll(/^#+ (.*)$/gm)].map(([, heading = '']) =>
    heading.toLowerCase().replace(/[^\p{L}\p{N}\s_-]/gu, '').replaceAll(' ', '-'))
}

/** Links of a page to files or headings that do not exist. */
export function brokenLinks (page: string): string[] {
  return [...prose(page).matchAll(/\]\(([^)\s]+)\)/g)].flatMap(([, target = '']) => {
    if (/^https?:/.test(target)) return []
    const [path = '', anchor] = target.split('#')
    const file = path === '' ? page : join(dirname(page), path)
    if (!existsSync(join(ROOT, file))) return [target]
    return anchor === undefined || anchors(file).includes(anchor) ? [] : [target]
  })
}
