// Conventions of the code that every change must keep.

import { globSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import t from 'tap'
import ts from 'typescript'
import { section, tableRows } from './docs/pages.ts'

const ROOT = join(import.meta.dirname, '..')
const SOURCES = globSync('src/**/*.ts', { cwd: ROOT }).sort()
const text = new Map(SOURCES.map((path) => [path, readFileSync(join(ROOT, path), 'utf8')]))
const trees = new Map([...text].map(([path, source]) =>
  [path, ts.createSourceFile(path, source, ts.ScriptTarget.Latest, true)]))
const printer = ts.createPrinter({ removeComments: true })
/** The code of each file without its comments. */
const codes = new Map([...trees].map(([path, tree]) => [path, printer.printFile(tree)]))

function code (path: string): string {
  return codes.get(path) as string
}

function withMatch (pattern: RegExp, within: (path: string) => boolean = () => true): string[] {
  return SOURCES.filter((path) => within(path) && pattern.test(code(path)))
}

function imports (path: string): string[] {
  return ts.preProcessFile(text.get(path) as string, true, true).importedFiles.map(({ fileName }) => fileName)
}

const isProduction = (path: string) => !path.startsWith('src/sandbox/')

/** The rooms from top to bottom. A file imports from its own room and from rooms on lower floors only. */
const FLOORS: readonly (readonly string[])[] = [
  ['server', 'commands', 'sandbox'],
  ['service'],
  ['app', 'ops'],
  ['reference'],
  ['routes'],
  ['rulebook', 'calls'],
  ['policy'],
  ['limits', 'tracing'],
  ['callers', 'upstream', 'redis'],
  ['records'],
  ['outbound', 'schema', 'realtime', 'http'],
  ['config', 'json', 'errors', 'clock', 'turn-batch']
]
const ROOT_FILES = 10

function roomOf (path: string): string {
  return (path.split('/')[1] as string).replace(/\.ts$/, '')
}

function floorOf (path: string): number {
  return FLOORS.findIndex((rooms) => rooms.includes(roomOf(path)))
}

function neighbours (path: string): string[] {
  return imports(path).filter((name) => name.startsWith('.')).map((name) => join(dirname(path), name))
    .filter((target) => text.has(target))
}

t.test('no arrow runs up: each room imports only from rooms below it, types included', async (t) => {
  t.same(SOURCES.filter((path) => floorOf(path) === -1), [], 'each file is in a room of the plan')
  const up = SOURCES.flatMap((path) => neighbours(path)
    .filter((target) => roomOf(target) !== roomOf(path) && floorOf(target) <= floorOf(path))
    .map((target) => `${path} → ${target}`))
  t.same(up, [])
  t.ok(SOURCES.filter((path) => path.split('/').length === 2).length <= ROOT_FILES, 'few files are at the root')
})

t.test('every arrow is seen: no import leaves src, or has a path that is made when it runs', async (t) => {
  const targets = SOURCES.flatMap((path) => imports(path).filter((name) => name.startsWith('.'))
    .map((name) => join(dirname(path), name)))
  t.same(new Set(targets.filter((target) => !text.has(target))), new Set(['package.json']))
  t.same(withMatch(/\bimport\((?!['"])|\bcreateRequire\b|\bimport\.meta\.resolve\b|\bWorker\b/), [])
  // Files that are read, not modules that are run.
  t.same(withMatch(/\bnew URL\((?!['"`]\.\/scripts\/)[^)]*import\.meta/, isProduction), [])
  t.same(globSync('src/**/*.{js,mjs,cjs,mts,cts,jsx,tsx}', { cwd: ROOT })
    .filter((path) => !path.startsWith('src/sandbox/playground/')), [])
})

t.test('lines of Lua have at most 120 characters, like those that the linter reads', async (t) => {
  for (const path of globSync('src/**/*.lua', { cwd: ROOT })) {
    t.notMatch(readFileSync(join(ROOT, path), 'utf8'), /^.{121}/m, path)
  }
})

t.test('architecture.md lists the rooms as they are', async (t) => {
  t.match(readFileSync(join(ROOT, 'docs/architecture.md'), 'utf8'), `\`\`\`text\n${FLOORS.map((rooms) =>
    rooms.join(', ')).join('\n')}\n\`\`\``)
  const rooms = FLOORS.flat().filter((room) => SOURCES.some((path) => path.startsWith(`src/${room}/`)))
  const listed = tableRows(section('docs/architecture.md', 'Rooms and arrows'))
    .flatMap(([cell = '']) => [...cell.matchAll(/`(\w[\w-]*)\/`/g)].map(([, room]) => room))
  t.same(listed.sort(), rooms.sort())
})

t.test('no files import each other in a circle', async (t) => {
  const done = new Set<string>()
  const circleFrom = (path: string, way: readonly string[]): string[] => {
    if (way.includes(path)) return [...way.slice(way.indexOf(path)), path]
    if (done.has(path)) return []
    const found = neighbours(path).map((next) => circleFrom(next, [...way, path])).find((circle) => circle.length > 0)
    done.add(path)
    return found ?? []
  }
  for (const path of SOURCES) t.same(circleFrom(path, []), [])
})

t.test('one module reads the environment, and only entry points pass it on', async (t) => {
  const entryPoints = (path: string) =>
    path === 'src/server.ts' || path === 'src/service.ts' || path.startsWith('src/commands/')
  t.same(withMatch(/process\.env|from 'node:process'|\bloadEnvFile\b/, (path) =>
    isProduction(path) && path !== 'src/config/environment.ts'), [])
  for (const path of SOURCES.filter(entryPoints)) {
    t.notMatch(code(path), /processEnv[.[]/, `${path} reads no variable of it`)
  }
})

t.test('production code cannot reach the sandbox', async (t) => {
  t.same(SOURCES.filter(isProduction).filter((path) => imports(path).some((name) => name.includes('sandbox'))), [])
})

/** Packages that are loaded only if they are installed. */
const OPTIONAL: Readonly<Record<string, readonly string[]>> = { 'src/commands/doctor/peer.ts': ['werift'] }

t.test('production code imports only production dependencies', async (t) => {
  const { dependencies } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'))
  for (const path of SOURCES.filter(isProduction)) {
    const packages = imports(path).filter((name) => !name.startsWith('.') && !name.startsWith('node:')).map(
      (name) => name.split('/', name.startsWith('@') ? 2 : 1).join('/')
    )
    const others = packages.filter((name) => !Object.hasOwn(dependencies, name))
    t.same([...new Set(others)], OPTIONAL[path] ?? [], path)
  }
})

t.test('policy/ imports no server and no network, realtime/ imports nothing but json and errors', async (t) => {
  for (const path of SOURCES.filter((path) => path.startsWith('src/policy/'))) {
    t.same(imports(path).filter((name) =>
      /fastify|undici|jose|node:(net|http|https|fs|child_process)|\/upstream\/|\/http\//.test(name)), [], path)
  }
  for (const path of SOURCES.filter((path) => path.startsWith('src/realtime/'))) {
    t.same(imports(path).filter((name) =>
      !/^(typebox|\.\/|\.\.\/(?!\.\.)(?!.*\/)|(\.\.\/){1,2}(json|errors)\.ts$)/.test(name)), [], path)
  }
})

t.test('only the upstream client has the key and sends requests to upstream', async (t) => {
  t.same(
    withMatch(/\bopenKey\b|\bkey\.headers\b|\bKey\b.*\/key\.ts/, isProduction),
    ['src/service.ts', 'src/upstream/client.ts', 'src/upstream/key.ts']
  )
  t.same(
    withMatch(/from 'undici'/, isProduction),
    ['src/outbound/proxy.ts', 'src/outbound/request.ts', 'src/upstream/attempt.ts']
  )
  t.same(withMatch(/(?<![\w.])fetch\s*\(|node:https?'.*\b(request|get)\b/, isProduction), [])
})

t.test('no class but errors, no enum, no default export, no any', async (t) => {
  t.same(withMatch(/\bclass\s+\w+\s+(?!extends\s+(\w*Error|Error)\b)/, isProduction), [])
  t.same(withMatch(/^\s*(export )?(declare )?(const )?enum\s+\w+\s*\{/m), [])
  t.same(withMatch(/\bexport default\b/), [])
  t.same(withMatch(/:\s*any\b|\bas any\b|@ts-(ignore|nocheck|expect-error)/), [])
})

t.test('every refusal is thrown from the one catalogue', async (t) => {
  const byHand = ['src/errors.ts', 'src/http/refusals.ts', 'src/http/parse-errors.ts', 'src/http/framing.ts']
  t.same(withMatch(/(send|end|stringify)\(\s*envelope\s*\(/, isProduction).filter((path) => !byHand.includes(path)), [])
  t.same(withMatch(/\bconsole\./, (path) => isProduction(path) && !path.startsWith('src/commands/')), [])
})

t.test('no module body has a branch and no class a field: coverage sees neither in code from a cache', async (t) => {
  const branches = (node: ts.Node): boolean => {
    if (ts.isFunctionLike(node) || ts.isTypeNode(node)) return false
    const isField = ts.isPropertyDeclaration(node) && !/\bdeclare\b/.test(node.getText())
    const isBranch = isField || ts.isIfStatement(node) || ts.isTryStatement(node) || ts.isConditionalExpression(node) ||
      ts.isOptionalChain(node) || (ts.isBinaryExpression(node) && /^(\?\?|\|\||&&)/.test(node.operatorToken.getText()))
    return isBranch || (ts.forEachChild(node, (child) => branches(child) || undefined) ?? false)
  }
  const found = SOURCES.filter((path) => isProduction(path) && branches(trees.get(path) as ts.SourceFile))
  // Tests that measure the coverage of server.ts start it without a compile cache.
  t.same(found, ['src/server.ts'])
})

t.test('every exception from coverage gives a reason', async (t) => {
  for (const path of SOURCES) {
    for (const [comment] of (text.get(path) as string).matchAll(/\/[/*] *(?:c8|v8|istanbul) ignore[^\n]*/g)) {
      t.match(comment, /ignore \w+( \d+)? ?(\*\/)?.*\w{4}/, path)
    }
  }
})

type Named = Readonly<{ path: string, name: string, isExported: boolean, value: string | null }>

/** The names of the types, functions and constants of a file; `value` is the text of a constant that is no function. */
function namesIn (path: string, tree: ts.SourceFile): Named[] {
  return tree.statements.flatMap((one) => {
    const isExported = one.getText().startsWith('export ')
    if (ts.isTypeAliasDeclaration(one)) return [{ path, name: one.name.text, isExported, value: null }]
    if (ts.isFunctionDeclaration(one)) return [{ path, name: String(one.name?.text), isExported, value: null }]
    if (!ts.isVariableStatement(one)) return []
    return one.declarationList.declarations.map(({ name, initializer }) => ({
      path,
      name: name.getText(),
      isExported,
      value: initializer === undefined || ts.isFunctionLike(initializer) ? null : initializer.getText()
    }))
  })
}

/** Constants of one text are one fact, of which a part may have its own copy. */
function meansAnother (one: Named, other: Named): boolean {
  return other.name === one.name && other.path !== one.path && (one.value === null || one.value !== other.value)
}

t.test('an exported type, function or constant shares its name with none of another file', async (t) => {
  const names = SOURCES.flatMap((path) => namesIn(path, trees.get(path) as ts.SourceFile))
  t.same(names.filter((one) => one.isExported && names.some((other) => meansAnother(one, other))), [])
})

t.test('what tests export has a name of its own', async (t) => {
  const exported = globSync('test/**/*.ts', { cwd: ROOT }).flatMap((path) => {
    const source = readFileSync(join(ROOT, path), 'utf8')
    // Most files need no parser.
    if (!/^export /m.test(source)) return []
    return namesIn(path, ts.createSourceFile(path, source, ts.ScriptTarget.Latest, true))
  }).filter(({ isExported }) => isExported)
  t.same(exported.filter((one) => exported.some((other) => meansAnother(one, other))), [])
})

/** The functions that make the parts of the service. */
const MAKERS = [
  'KeySets', 'Sender', 'RedisStore', 'MemoryStore', 'UpstreamClient', 'UpstreamCalls', 'Sidebands', 'Mint', 'Calls',
  'Places', 'SharedCalls', 'Audit', 'Logger', 'Metrics'
].map((part) => `create${part}`).concat('openKey', 'openRulebook', 'buildApp', 'buildOps')

t.test('only service.ts makes the parts of the service', async (t) => {
  const makers = withMatch(new RegExp(`(?<!function )\\b(${MAKERS.join('|')})\\(`), isProduction)
  // A store of limits is chosen in one place, and requests without a proxy share one sender.
  t.same(makers, ['src/limits/open.ts', 'src/outbound/request.ts', 'src/service.ts'])
})

t.test('files are named in kebab case', async (t) => {
  t.same(SOURCES.filter((path) => !/^src\/([a-z]+\/)*[a-z]+(-[a-z]+)*\.ts$/.test(path)), [])
  t.same(SOURCES.filter((path) => /manager|utils|helper/.test(path) && isProduction(path)), [])
})
