// The commands of README and docs, as whole lines: what they name exists, and a test or CI runs them. Those of Docker
// and kubectl are checked and not run. A new command in a block needs a test that runs it.

import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { cpSync, existsSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { basename, dirname, join, relative } from 'node:path'
import { promisify } from 'node:util'
import t from 'tap'
import { parse } from 'yaml'
import { readConfig } from '../../src/config/environment.ts'
import { startIdentityProvider } from '../../src/sandbox/identity-provider.ts'
import { welcome } from '../../src/sandbox/welcome.ts'
import type { Owner } from '../support/fault-proxy.ts'
import { freePort, makeFolder } from '../support/processes.ts'
import { program } from '../support/programs.ts'
import { until } from '../support/until.ts'
import { faultsOf, inlineCommands, inlineFiles, SCRIPTS } from './commands.ts'
import { CONTRIBUTORS_PAGES, PAGES, read, ROOT, section, shellLines } from './pages.ts'

type Mounted = Readonly<{
  environment: Record<string, string>, volumes: readonly { source?: string, target?: string }[]
}>
const COMPOSE = parse(read('docker-compose.yml'), { merge: true }) as { services: { 'ephemint-1': Mounted } }
const KUSTOMIZATION = parse(read('deploy/kubernetes/kustomization.yaml')) as
  Record<'configMapGenerator' | 'secretGenerator', readonly { files?: string[] }[]>
const CURL = program(['curl'], 'curl')
const CI = read('.ci/run').split('\n')

/** Lines that a reader could follow, each with one word that leads nowhere. */
const BROKEN = [
  'cp .env.sample .env', 'cp .env.example nowhere/', 'cp ephemint.sample.yaml ephemint.yaml',
  'cp ephemint.yaml deploy/policy/ nowhere/', 'cp --bogus .env.example .env',
  'npm ci --omit=prod', 'npm run bogus', 'npm bogus', 'npm ci && npm run bogus', 'npm test bogus',
  'npm run check-config -- bogus.yaml', 'npm run check-config -- ephemint.yaml --bogus', 'npm run doctor -- bogus',
  'npm run bench -- --bogus', 'npm run drain-test -- --calls --bogus', 'npm run dev -- --port',
  'npm run lint -- --bogus',
  'npm run test:one -- test/bogus.test.ts', 'npm run check -- --fix', 'npx bogus test/json.test.ts',
  'node --bogus src/server.ts', 'node src/bogus.ts', 'node src/server.ts --bogus',
  'curl -f http://127.0.0.1:8080/ready-now', 'curl --bogus http://127.0.0.1:8080/readyz', 'curl -f /readyz',
  'curl -sS http://127.0.0.1:8080/readyz -d "$(curl -sS http://127.0.0.1:8101/bogus)"',
  'sh deploy/bogus.sh', 'sh deploy/upgrade.sh --bogus', 'sh deploy/upgrade.sh 600 600',
  "sed -n 's/a/b/p' .env > deploy/bogus/key", "sed -n 's/a/b/p' .env.sample", 'grep -rnw A8 bogus',
  'docker compose up --build --bogus', 'docker compose restart ephemint-3', 'docker compose bogus',
  'docker run --bogus',
  'docker compose exec -T', 'docker compose exec --bogus ephemint-1 node src/commands/doctor.ts',
  'docker compose exec ephemint-3 node src/commands/doctor.ts', 'docker compose exec ephemint-1 npm run doctor',
  'docker compose exec ephemint-1 node src/commands/bogus.ts',
  'docker compose exec ephemint-1 node src/commands/doctor.ts --bogus',
  'docker compose exec ephemint-1 node src/commands/check-config.ts /etc/ephemint/bogus.yaml',
  'docker compose exec valkey node src/commands/doctor.ts',
  'docker compose exec ephemint-1 tail -n 100 -F /var/lib/ephemint/ephemint-2.jsonl',
  'docker compose exec ephemint-1 tail --bogus /var/lib/ephemint/ephemint-1.jsonl',
  'docker compose exec gateway curl -sS http://ephemint-3:9090/metrics',
  'docker compose exec gateway curl -sS http://ephemint-1:9090/bogus',
  'kubectl apply -k deploy/k8s', 'kubectl apply -k deploy/k8s --bogus', 'kubectl apply -k deploy/kubernetes --bogus',
  'kubectl -n bogus exec deploy/ephemint -- node src/commands/doctor.ts', 'kubectl bogus',
  'kubectl -n ephemint exec deploy/ephemint-none -- node src/commands/doctor.ts',
  'kubectl -n ephemint exec deploy/ephemint -- node src/commands/doctor.ts --bogus',
  'kubectl -n ephemint exec deploy/ephemint node src/commands/doctor.ts', 'bogus'
]

/** Whether a file is in a folder for an operator's own files: nothing else in it is in the repository. */
function isOperators (path: string): boolean {
  const ignored = join(ROOT, dirname(path), '.gitignore')
  return existsSync(ignored) && readFileSync(ignored, 'utf8').includes('\n*\n')
}

t.test('a command that names a file, option, service or route that does not exist has a fault', async (t) => {
  for (const line of BROKEN) t.not(faultsOf(line).length, 0, line)
})

for (const page of [...PAGES, ...CONTRIBUTORS_PAGES]) {
  t.test(`what the commands of ${page} name exists`, async (t) => {
    const lines = [...shellLines(page), ...inlineCommands(page)]
    t.same(lines.flatMap((line) => faultsOf(line).map((fault) => `${line}: ${fault}`)), [])
    t.same(inlineFiles(page).filter((path) => !existsSync(join(ROOT, path)) && !isOperators(path)), [])
  })
}

const RUN_IT = shellLines('README.md').filter((line) => section('README.md', 'Run it').includes(`\n${line}\n`))
const FILES_OF_README = RUN_IT.filter((line) => line.startsWith('cp '))
const START = ['npm run check-config -- ephemint.yaml', 'npm start', 'curl -f http://127.0.0.1:8080/readyz']
/** The lines of deploying.md that copy files. */
const FILES = shellLines('docs/deploying.md').filter((line) => /^(cp|sed) /.test(line))

const SANDBOX = {
  ephemint: 'http://127.0.0.1:8080',
  identityProvider: 'http://127.0.0.1:8101',
  ops: null,
  playground: '',
  upstream: '',
  real: false,
  policyFile: ''
}

/** Lines that this file and snippets.test.ts do not run, and how each is known to work. */
const ELSEWHERE: Record<string, () => boolean> = {
  'npm ci && npm run dev': () =>
    CI.includes("step 'npm ci' npm ci") && CI.some((line) => /^ +npm run dev >/.test(line)),
  'npm ci && npm test': () => CI.includes("step 'npm ci' npm ci") && CI.includes("step 'npm test' npm test"),
  'npm ci': () => CI.includes("step 'npm ci' npm ci"),
  'npm run bench': () => CI.some((line) => line.endsWith(' npm run bench -- --quick')),
  'npm run bench -- --calls': () => CI.some((line) => line.endsWith(' npm run bench -- --calls --quick')),
  'sh deploy/upgrade.sh': () => read('test/compose.test.ts').includes("docker.run(join(DEPLOY, 'upgrade.sh')")
}

t.test('every line of a block is run by a test or by CI, but for those of Docker and kubectl', async (t) => {
  const run = new Set([
    ...FILES_OF_README, ...START, ...FILES,
    ...shellLines('docs/calls.md'), ...shellLines('docs/operating.md', '$ADMIN_TOKEN')
  ])
  // CI pastes what the sandbox prints.
  for (const line of welcome(SANDBOX).split('\n')) run.add(line.trim())
  run.add(SCRIPTS.start as string)
  const { stdout } = await runLine('grep -rnw A8 test', ROOT)
  t.match(stdout, 'tokens.test.ts')
  run.add('grep -rnw A8 test')
  const lines = PAGES.flatMap((page) => shellLines(page)).filter((line) => !/^(docker|kubectl) /.test(line))
  t.same(lines.filter((line) => !run.has(line) && ELSEWHERE[line]?.() !== true), [])
})

/** The environment of a line. Without NODE_OPTIONS no coverage is measured. */
function envIn (folder: string): Record<string, string> {
  return {
    PATH: `${dirname(process.execPath)}:${process.env.PATH}`,
    NODE_COMPILE_CACHE: join(ROOT, '.tap/compile-cache'),
    npm_config_cache: join(folder, '.npm'),
    npm_config_update_notifier: 'false'
  }
}

/** Rejects if the line fails. */
function runLine (line: string, cwd: string): Promise<{ stdout: string }> {
  return promisify(execFile)('sh', ['-c', line], { cwd, env: envIn(cwd) })
}

/** A folder with what README's lines for files start from, after these lines, and with `.env` filled in as it says. */
async function makeProject (owner: Owner, values: Record<string, string>): Promise<string> {
  const folder = makeFolder(owner)
  const given = ['package.json', '.env.example', 'ephemint.example.yaml']
  for (const file of given) cpSync(join(ROOT, file), join(folder, file))
  for (const line of FILES_OF_README) await runLine(line, folder)
  const env = join(folder, '.env')
  const filledIn = Object.entries(values).reduce(
    (text, [name, value]) => text.replace(new RegExp(`^${name}=$`, 'm'), `${name}=${value}`), readFileSync(env, 'utf8')
  )
  writeFileSync(env, filledIn)
  return folder
}

const VALUES = {
  OPENAI_API_KEY: 'sk-an-example', CORS_ORIGINS: 'https://app.example.com', SAFETY_IDENTIFIER_SECRET: 's'.repeat(32)
}

t.test('the lines of "Run it" start a service that becomes ready', { skip: CURL.skip }, async (t) => {
  t.same(RUN_IT, ['npm ci', ...FILES_OF_README, ...START])
  for (const name of Object.keys(VALUES)) t.match(section('README.md', 'Run it'), `\`${name}\``)
  const folder = await makeProject(t, VALUES)
  for (const name of ['src', 'node_modules']) symlinkSync(join(ROOT, name), join(folder, name))
  const { issuer, close } = await startIdentityProvider()
  t.teardown(close)
  const [env, policy] = [join(folder, '.env'), join(folder, 'ephemint.yaml')]
  const filledIn = readFileSync(env, 'utf8')
  for (const [name, value] of Object.entries(VALUES)) t.match(filledIn, `\n${name}=${value}\n`)
  // Instead of the reader's own identity provider, and of ports that may be taken.
  writeFileSync(policy, readFileSync(policy, 'utf8').replace('https://auth.example.com/ ', `${issuer} `))
  t.equal(readConfig(VALUES).listen.port, 8080, 'the port of the page')
  const port = await freePort()
  writeFileSync(env, `${filledIn}\nHOST=127.0.0.1\nPORT=${port}\nOPS_PORT=\n`)

  const [check = '', start = '', isReady = ''] = START
  await runLine(check, folder)
  let output = ''
  // A process group of its own: npm's shell keeps signals to itself.
  const child = spawn('sh', ['-c', start], { cwd: folder, env: envIn(folder), detached: true })
  const closed = once(child, 'close')
  t.teardown(async () => {
    if (child.exitCode === null) process.kill(-(child.pid as number), 'SIGKILL')
    await closed
  })
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => { output += chunk })
  await until('the service to be ready', async () => {
    if (child.exitCode !== null) throw new Error(`the service ended: ${output}`)
    return runLine(isReady.replace(':8080', `:${port}`), folder).then(() => true, () => false)
  })
})

t.test('the lines of deploying.md make the files that Compose mounts and kustomization.yaml reads', async (t) => {
  const folder = await makeProject(t, VALUES)
  const isGiven = (path: string) => basename(path) === '.gitignore' || !isOperators(relative(ROOT, path))
  cpSync(join(ROOT, 'deploy'), join(folder, 'deploy'), { recursive: true, filter: isGiven })
  for (const secret of ['openai_api_key', 'safety_identifier_secret']) writeFileSync(join(folder, secret), 'an example')
  for (const line of FILES) await runLine(line, folder)

  const { 'ephemint-1': { environment, volumes } } = COMPOSE.services
  const mounted = Object.values(environment).flatMap((value) => volumes.flatMap(({ source = '', target = '' }) =>
    source.startsWith('./') && value.startsWith(`${target}/`) ? [value.replace(target, source)] : []))
  t.equal(mounted.length, 3)
  for (const file of mounted) t.ok(existsSync(join(folder, file)), file)
  for (const name of ['OPENAI_API_KEY', 'SAFETY_IDENTIFIER_SECRET'] as const) {
    t.equal(readFileSync(join(folder, 'deploy/secrets', name.toLowerCase()), 'utf8'), `${VALUES[name]}\n`)
  }
  const generators = [...KUSTOMIZATION.configMapGenerator, ...KUSTOMIZATION.secretGenerator]
  const generated = generators.flatMap(({ files = [] }) => files)
  t.equal(generated.length, 3)
  for (const file of generated) t.ok(existsSync(join(folder, 'deploy/kubernetes', file)), file)
})
