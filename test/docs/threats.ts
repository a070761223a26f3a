// The rows of docs/threats.md and their tests, found by name. `npm run threats` writes the last column of the page.

import { globSync, writeFileSync } from 'node:fs'
import { join, relative } from 'node:path'
import ts from 'typescript'
import { read, ROOT, section, tableRows } from './pages.ts'

export const PAGE = 'docs/threats.md'
const ROW = /(?:fault |[a-z]+ [A-Z]|[A-I])\d+[a-z]?/.source
/** A name that begins with one row, or with several. */
const NAMED = new RegExp(`^(${ROW}(?:, ${ROW})*)(?::? )`)

/** Which files have tests of a row. A table of names that a test imports belongs to that test. */
export function testsByRow (): Map<string, string[]> {
  const sources = globSync('test/**/*.ts', { cwd: ROOT }).sort().filter((path) => !path.startsWith('test/docs/'))
    .map((path) => ({ path, source: read(path) }))
  const tests = sources.filter(({ path }) => path.endsWith('.test.ts'))
  const found = new Map<string, string[]>()
  for (const { path, source } of sources) {
    for (const { rows, within } of namesIn(source)) {
      const users = path.endsWith('.test.ts')
        ? [path]
        : tests.filter((test) => imports(test, path, within)).map(({ path }) => path)
      for (const row of rows) found.set(row, [...new Set([...found.get(row) ?? [], ...users])].sort())
    }
  }
  return found
}

type Names = Readonly<{ rows: readonly string[], within: string }>

/**
 * The names of tests that begin with rows, and the declaration at the top of the file that each is in. A name is the
 * first argument of `test` or, in a table, a key, the first item of a row or its `name`. Tests that are skipped in
 * writing are left out; those that are skipped where a program is missing are not.
 */
export function namesIn (source: string): Names[] {
  // Most files need no parser.
  if (!new RegExp(NAMED.source.replace('^', '[\'"`]')).test(source)) return []
  const names: Names[] = []
  const visit = (node: ts.Node, within: string): void => {
    if (isTest(node) && isSkipped(node)) return
    const rows = isName(node) ? NAMED.exec(textOf(node))?.[1]?.split(', ') : undefined
    if (rows !== undefined) names.push({ rows, within })
    ts.forEachChild(node, (child) => visit(child, within))
  }
  for (const statement of ts.createSourceFile('a.ts', source, ts.ScriptTarget.Latest, true).statements) {
    visit(statement, declared(statement))
  }
  return names
}

function declared (statement: ts.Statement): string {
  if (ts.isFunctionDeclaration(statement)) return statement.name?.text ?? ''
  return ts.isVariableStatement(statement) ? statement.declarationList.declarations[0]?.name.getText() ?? '' : ''
}

function isName (node: ts.Node): boolean {
  if (!ts.isStringLiteralLike(node) && !ts.isTemplateExpression(node)) return false
  const whole = concatenated(node)
  const { parent } = whole
  if (ts.isPropertyAssignment(parent)) return parent.name === whole || parent.name.getText() === 'name'
  if (ts.isArrayLiteralExpression(parent)) return parent.elements.length > 1 && parent.elements[0] === whole
  return isTest(parent) && parent.arguments[0] === whole
}

/** What a text begins that is written in several pieces. */
function concatenated (node: ts.Node): ts.Node {
  const { parent } = node
  return ts.isBinaryExpression(parent) && parent.left === node ? concatenated(parent) : node
}

/** The text, or the part of a template before what is put into it. */
function textOf (node: ts.Node): string {
  if (ts.isTemplateExpression(node)) return node.head.text
  return ts.isStringLiteralLike(node) ? node.text : ''
}

/** A call of `test` without a body tests nothing. */
function isTest (node: ts.Node): node is ts.CallExpression {
  return ts.isCallExpression(node) && /(^|\.)test$/.test(node.expression.getText()) && node.arguments.length > 1
}

function isSkipped ({ arguments: passed }: ts.CallExpression): boolean {
  return passed.filter(ts.isObjectLiteralExpression).flatMap(({ properties }) => [...properties]).some((property) =>
    ts.isPropertyAssignment(property) && /^(skip|todo)$/.test(property.name.getText()) &&
    /^(true$|['"`])/.test(property.initializer.getText()))
}

function imports ({ path, source }: { path: string, source: string }, from: string, name: string): boolean {
  return [...source.matchAll(/^import \{([^}]*)\} from '(\..*)'$/gm)].some(([, names = '', target = '']) =>
    relative(ROOT, join(ROOT, path, '..', target)) === from && new RegExp(`\\b${name}\\b`).test(names))
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
export function withTests (page: string, byRow: ReadonlyMap<string, readonly string[]>): string {
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
  writeFileSync(join(ROOT, PAGE), withTests(read(PAGE), testsByRow()))
  console.log(`${PAGE} is written`)
}
