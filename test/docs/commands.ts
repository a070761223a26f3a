// The commands that pages show, read word by word: what each names (scripts, options, files, services) must exist.

import { existsSync, globSync, statSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { parseArgs, type ParseArgsConfig } from 'node:util'
import ts from 'typescript'
import { parse, parseAllDocuments } from 'yaml'
import { prose, read, ROOT } from './pages.ts'

type Words = readonly string[]
type Service = Readonly<{ image: string, environment?: Record<string, string> }>

export const { scripts: SCRIPTS } = JSON.parse(read('package.json')) as { scripts: Record<string, string> }
const SOURCE = globSync('src/**/*.ts', { cwd: ROOT }).map(read).join('\n')
const { services: SERVICES } = parse(read('docker-compose.yml'), { merge: true }) as
  { services: Record<string, Service> }
const { namespace: NAMESPACE } = parse(read('deploy/kubernetes/kustomization.yaml')) as { namespace: string }
const DEPLOYMENTS = globSync('deploy/**/*.yaml', { cwd: ROOT })
  .flatMap((path) => parseAllDocuments(read(path)).map((document) => document.toJS()))
  .flatMap((manifest) => manifest?.kind === 'Deployment' ? [manifest.metadata.name as string] : [])

/** The packages of Debian that CI installs. */
const [, TOOLS = ''] = /^tools=\(([^)]*)\)/m.exec(read('.ci/run')) ?? []
const PACKAGES = new Set(TOOLS.split(/\s+/).map((tool) => tool.split(':')[1]))

/** Files that a reader makes or has. */
const OWN_FILES = [
  '.env', 'ephemint.yaml', 'openai_api_key', 'safety_identifier_secret', 'offer.sdp', 'subjects.txt'
]

/** Commands that name nothing of this project. */
const FOREIGN = [
  'docker run --env-file', 'docker run --init', 'docker inspect',
  "docker buildx imagetools inspect IMAGE --format '{{ json .SBOM }}'", 'npm version --no-git-tag-version X.Y.Z'
]

const CHECKS: Record<string, (args: Words) => string[]> = {
  npm: ofNpm,
  npx: ([program, ...args]) => program === 'node' ? ofNode(args) : [`npx ${program}`],
  node: ofNode,
  sh: ofShellScript,
  cp: ofCopy,
  curl: ofCurl,
  docker: ofDocker,
  kubectl: ofKubectl,
  sed: ([option, , ...files]) => [...option === '-n' ? [] : [`sed ${option}`], ...files.flatMap(ofFile)],
  grep: ([option, , folder = '', ...more]) =>
    option === '-rnw' && more.length === 0 ? ofFolder(folder) : ['grep takes -rnw WORD FOLDER here'],
  'apt-get': ([action, ...names]) => action === 'install' ? names.filter((name) => !PACKAGES.has(name)) : ['apt-get']
}

/** What is wrong with a command line. A program that is not known is wrong. */
export function faultsOf (line: string): string[] {
  if (FOREIGN.includes(line)) return []
  const inner = [...line.matchAll(/\$\(([^)]*)\)/g)].flatMap(([, command = '']) => faultsOf(command))
  const commands = wordsOf(line).join('\n').split('\n&&\n').map((command) => command.split('\n'))
  return [...inner, ...commands.flatMap((words) => {
    const [[program = '', ...args], redirected] = withoutRedirections(words)
    const check = Object.hasOwn(CHECKS, program) ? CHECKS[program] : undefined
    return [...redirected, ...check?.(args) ?? [`there is no check for ${program}`]]
  })]
}

/** The commands in inline code of a page. `--option` is of the npm script that its paragraph or row names before it. */
export function inlineCommands (page: string): string[] {
  return prose(page).split(/\n\n|\n(?=\|)/).flatMap((paragraph) => {
    let script = ''
    return [...paragraph.matchAll(/`([^`]+)`/g)].flatMap(([, text = '']) => {
      const code = text.replace(/\s+/g, ' ')
      script = /^npm run [\w:-]+/.exec(code)?.[0] ?? script
      if (/^--( |\w)/.test(code) && script !== '') return [`${script} -- ${code.replace(/^-- /, '')}`]
      return code.includes(' ') && Object.hasOwn(CHECKS, code.split(' ')[0] as string) ? [code] : []
    })
  })
}

/** The files of the repository that a page names in inline code. */
export function inlineFiles (page: string): string[] {
  const codes = [...prose(page).matchAll(/`((?:deploy|docs|src|test|\.ci|\.github)\/[\w./-]*)`/g)]
  return codes.map(([, path = '']) => path)
}

/** The words of a line as a shell reads them, without expansions. */
function wordsOf (line: string): string[] {
  const words = line.match(/(?:[^\s"']|"[^"]*"|'[^']*')+/g) ?? []
  return words.map((word) => word.replace(/"([^"]*)"|'([^']*)'/g, (_, double = '', single = '') => double + single))
}

/** The words without `< FILE` and `> FILE`, and what is wrong with those. */
function withoutRedirections (words: Words): [words: string[], faults: string[]] {
  const at = words.findIndex((word) => /^[<>]$/.test(word))
  if (at === -1) return [[...words], []]
  const [sign, file = '', ...more] = words.slice(at)
  const faults = sign === '<' ? ofFile(file) : ofFolder(dirname(file))
  return [words.slice(0, at), [...faults, ...more.map((word) => `${word} after ${file}`)]]
}

/** A word that stands for the reader's own: `FILE`, `$IDENTIFIER`, `…`. */
function isPlaceholder (word: string): boolean {
  return /^(\$?[A-Z_]+|…)$/.test(word)
}

function ofFile (path: string): string[] {
  const isFile = existsSync(join(ROOT, path)) && statSync(join(ROOT, path)).isFile()
  return isFile || OWN_FILES.includes(path) || isPlaceholder(path) ? [] : [`there is no file ${path}`]
}

function ofFolder (path: string): string[] {
  return existsSync(join(ROOT, path)) && statSync(join(ROOT, path)).isDirectory() ? [] : [`there is no folder ${path}`]
}

/** Words beyond the options that are known here. */
function unknownOptions (command: string, args: Words, known: Words): string[] {
  return args.filter((arg) => arg.startsWith('-') && !known.includes(arg)).map((arg) => `${command} ${arg}`)
}

function ofNpm ([action = '', ...args]: Words): string[] {
  if (action === 'ci') return args.filter((arg) => arg !== '--omit=dev').map((arg) => `npm ci ${arg}`)
  const [name = '', ...more] = action === 'run' ? args.filter((arg) => arg !== '-s') : [action, ...args]
  const isKnown = Object.hasOwn(SCRIPTS, name) && (action === 'run' || ['start', 'test'].includes(action))
  if (!isKnown) return [`npm ${action} ${args.join(' ')}`]
  const [separator, ...given] = more
  if (separator === undefined) return []
  if (separator !== '--') return [`npm run ${name} ${separator}`]
  const [program = '', ...words] = wordsOf(SCRIPTS[name] as string)
  if (program === 'node') return ofNode([...words, ...given])
  // Test files of tap, and the options of tools that pages name.
  const known = { tap: ['--grep'], eslint: ['--fix'] }[program]
  if (known === undefined) return [`${name} takes no arguments`]
  const files = given.filter((word, i) => !word.startsWith('-') && given[i - 1] !== '--grep')
  return [...unknownOptions(name, given, known), ...files.flatMap(ofFile)]
}

function ofNode (args: Words): string[] {
  const at = args.findIndex((arg) => !arg.startsWith('-'))
  const [path = '', ...given] = at === -1 ? [] : args.slice(at)
  const known = [...process.allowedNodeEnvironmentFlags, '--env-file-if-exists']
  const options = args.slice(0, at).map((option) => option.split('=')[0] as string)
  const faults = [...unknownOptions('node', options, known), ...ofFile(path)]
  return faults.length > 0 ? faults : ofArguments(path, given)
}

/** Parses arguments with the options that the script has in its source. */
function ofArguments (path: string, args: Words): string[] {
  if (args.length === 0) return []
  const known = parametersOf(path)
  if (known === null) return [`${path} takes no arguments`]
  try {
    const { values, positionals } = parseArgs({ ...known, args: [...args] })
    const words = [...positionals, ...Object.values(values)].filter((value) => typeof value === 'string')
    return words.filter((word) => /^[\w./-]+\.(ya?ml|json|txt)$/.test(word) && !word.startsWith('/')).flatMap(ofFile)
  } catch (error) {
    return [`${path}: ${(error as Error).message}`]
  }
}

function parametersOf (path: string): ParseArgsConfig | null {
  const tree = ts.createSourceFile(path, read(path), ts.ScriptTarget.Latest, true)
  const nodes = (node: ts.Node): ts.Node[] => [node, ...node.getChildren(tree).flatMap(nodes)]
  const all = nodes(tree)
  const config = all.find((node) => ts.isCallExpression(node) && node.expression.getText() === 'parseArgs')
  if (config === undefined) return null
  const constant = (name: string) =>
    all.find((node) => ts.isVariableDeclaration(node) && node.name.getText() === name) as ts.VariableDeclaration
  const members = (node: ts.Node | undefined): [string, ts.Node][] => {
    if (node === undefined) return []
    if (ts.isAsExpression(node)) return members(node.expression)
    if (ts.isIdentifier(node)) return members(constant(node.text).initializer)
    return (node as ts.ObjectLiteralExpression).properties.filter(ts.isPropertyAssignment)
      .map(({ name, initializer }) => [(name as ts.Identifier | ts.StringLiteral).text, initializer])
  }
  const { options, allowPositionals } = Object.fromEntries(members((config as ts.CallExpression).arguments[0]))
  const isTrue = (node: ts.Node | undefined) => node?.kind === ts.SyntaxKind.TrueKeyword
  return {
    allowPositionals: isTrue(allowPositionals),
    options: Object.fromEntries(members(options).map(([name, option]) => {
      const { type, multiple } = Object.fromEntries(members(option))
      return [name, { type: (type as ts.StringLiteral).text as 'string' | 'boolean', multiple: isTrue(multiple) }]
    }))
  }
}

/** The head of a script says what it takes: `sh deploy/upgrade.sh [SECONDS]`. */
function ofShellScript ([path = '', ...args]: Words): string[] {
  const faults = ofFile(path)
  if (faults.length > 0) return faults
  const usage = read(path).split('\n').find((line) => line.startsWith('#') && line.includes(`sh ${path}`)) ?? ''
  const [first, ...more] = args
  const isTaken = first === undefined || (usage.endsWith('[SECONDS]') && /^\d+$/.test(first))
  return isTaken && more.length === 0 ? [] : [`${path} does not take ${args.join(' ')}`]
}

function ofCopy (args: Words): string[] {
  const [sources, target = ''] = [args.slice(0, -1), args.at(-1)]
  const to = target.endsWith('/') || sources.length > 1 ? target : dirname(target)
  return [...sources.length === 0 ? ['cp has no target'] : [], ...sources.flatMap(ofFile), ...ofFolder(to)]
}

/** Options of curl that pages use, and whether each has a value. */
const CURL_OPTIONS: Record<string, boolean> = {
  '-f': false, '-sS': false, '-i': false, '-X': true, '-H': true, '-d': true, '-F': true, '--data-binary': true
}

/** The route of an address must be in the source. */
function ofCurl (args: Words): string[] {
  const given = args.filter((_, i) => CURL_OPTIONS[args[i - 1] ?? ''] !== true)
  const [url = '', ...more] = given.filter((arg) => !arg.startsWith('-'))
  if (!URL.canParse(url) || more.length > 0) return [`curl ${args.join(' ')}`]
  const route = new URL(url).pathname.replace('$CALL_ID', ':id')
  return [
    ...unknownOptions('curl', given, Object.keys(CURL_OPTIONS)),
    ...SOURCE.includes(`'${route}'`) ? [] : [`there is no route ${route}`]
  ]
}

const COMPOSE_OPTIONS: Record<string, Words> = {
  up: ['--build', '-d', '--no-deps'], build: ['--pull'], restart: [], down: ['-v'], exec: ['-T']
}

function ofDocker ([compose, action = '', ...args]: Words): string[] {
  const known = Object.hasOwn(COMPOSE_OPTIONS, action) ? COMPOSE_OPTIONS[action] as Words : undefined
  if (compose !== 'compose' || known === undefined) return [`docker ${compose} ${action}`]
  const at = args.findIndex((arg) => !arg.startsWith('-'))
  const names = at === -1 ? [] : args.slice(at, action === 'exec' ? at + 1 : undefined)
  const faults = [
    ...unknownOptions(`docker compose ${action}`, action === 'exec' ? args.slice(0, at) : args, known),
    ...names.filter((name) => !name.startsWith('-')).flatMap(ofService)
  ]
  if (action !== 'exec') return faults
  if (at === -1) return [...faults, 'docker compose exec has no service']
  return faults.length > 0 ? faults : inContainer(SERVICES[names[0] as string] as Service, args.slice(at + 1))
}

function ofService (name: string): string[] {
  return Object.hasOwn(SERVICES, name) ? [] : [`docker-compose.yml has no service ${name}`]
}

/** A command in a container: its program must be in the image, and its files in the container. */
function inContainer ({ image, environment = {} }: Service, [program, ...args]: Words): string[] {
  if (program === undefined) return []
  const paths = args.filter((arg) => arg.startsWith('/') && !Object.values(environment).includes(arg))
  const unknown = paths.map((path) => `${path} is no setting of the container`)
  // The image of Ephemint has Node.js and `src`, without npm.
  if (image === 'ephemint' && program === 'node') {
    return [...unknown, ...args[0]?.startsWith('src/commands/') ? ofNode(args) : [`node ${args[0]}`]]
  }
  if (image === 'ephemint' && program === 'tail') {
    const [count, lines = '', follow, ...files] = args
    const isRight = count === '-n' && /^\d+$/.test(lines) && follow === '-F' && files.length === 1
    return [...unknown, ...isRight ? [] : [`tail ${args.join(' ')}`]]
  }
  // This image has curl; the one that ends in -slim does not.
  if (/^nginx:[\d.]+-alpine$/.test(image) && program === 'curl') {
    const host = /^http:\/\/([\w-]+):(8080|9090)\//.exec(args.at(-1) ?? '')?.[1] ?? ''
    return [...ofCurl(args), ...ofService(host)]
  }
  return [`${image} has no ${program}`]
}

function ofKubectl (args: Words): string[] {
  const [option, namespace, ...rest] = args[0] === '-n' ? args : ['-n', NAMESPACE, ...args]
  if (option !== '-n' || namespace !== NAMESPACE) return [`there is no namespace ${namespace}`]
  const [action, ...given] = rest
  if (action === 'port-forward') return given.map((arg) => `kubectl port-forward ${arg}`)
  if (action === 'apply') {
    const [k, folder = '', ...more] = given
    const isRight = k === '-k' && more.length === 0
    return isRight ? ofFile(join(folder, 'kustomization.yaml')) : [`kubectl apply ${given.join(' ')}`]
  }
  const [target = '', separator, ...command] = given
  if (action !== 'exec' || separator !== '--') return [`kubectl ${rest.join(' ')}`]
  const isDeployment = DEPLOYMENTS.some((name) => target === `deploy/${name}`)
  return [...isDeployment ? [] : [`there is no ${target}`], ...inContainer({ image: 'ephemint' }, command)]
}
