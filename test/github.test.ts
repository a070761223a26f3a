// Workflows, dependency updates and the pages for contributors. Only GitHub runs them, so mistakes would show late.

import { execFileSync, spawnSync } from 'node:child_process'
import { chmodSync, existsSync, globSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { parse } from 'yaml'
import { hasOwnProcess, isUncounted, orderedGroups, startsFirst } from './groups.ts'
import { gate, isRounds, runsAlone, skippedIn } from './run.ts'
import { UNCOUNTED } from './support/processes.ts'

const ROOT = join(import.meta.dirname, '..')
const read = (path: string) => readFileSync(join(ROOT, path), 'utf8')

type Permissions = Record<string, string>
type Step = Readonly<{ uses?: string, run?: string, with?: Record<string, unknown> }>
type Job = Readonly<{
  needs?: string
  permissions?: Permissions
  uses?: string
  'timeout-minutes'?: number
  container?: { image: string }
  steps?: readonly Step[]
}>
type Workflow = Readonly<{
  on: Record<string, { tags?: string[] } | null>
  permissions: Permissions
  jobs: Record<string, Job>
}>
type Update = Readonly<{
  'package-ecosystem': string
  groups: object
  cooldown: { 'default-days': number }
  directories?: readonly string[]
  ignore?: readonly { 'dependency-name': string }[]
}>

const FOLDER = '.github/workflows/'
const PATHS = globSync(`${FOLDER}*.yml`, { cwd: ROOT })
const WORKFLOWS = new Map(PATHS.map((path) => [path, parse(read(path)) as Workflow]))
const workflow = (name: string) => WORKFLOWS.get(`${FOLDER}${name}.yml`) as Workflow
const stepsOf = ({ jobs }: Workflow) => Object.values(jobs).flatMap(({ steps = [] }) => steps)
const { scripts, devDependencies } = JSON.parse(read('package.json'))

t.test('every action is pinned by its commit, with its version in a comment', async (t) => {
  for (const path of WORKFLOWS.keys()) {
    for (const [line, used] of read(path).matchAll(/^.*\buses: *(\S+).*$/gm)) {
      if (!used?.startsWith('./')) t.match(line, /uses: [\w-]+\/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$/, path)
    }
    t.notMatch(read(path), /uses:[^\n]*docker:/, path)
  }
})

t.test('workflows may only read the code, and the release may also write packages', async (t) => {
  for (const [path, { permissions, jobs }] of WORKFLOWS) {
    t.same(permissions, { contents: 'read' }, path)
    for (const [name, job] of Object.entries(jobs)) {
      const isImage = path === `${FOLDER}release.yml` && name === 'image'
      const allowed = { contents: 'read', ...(isImage ? { packages: 'write', 'id-token': 'write' } : {}) }
      t.same(job.permissions ?? permissions, allowed, `${path} ${name}`)
    }
  }
})

t.test('no GitHub expression is part of a command, and no token stays in the checkout', async (t) => {
  for (const [path, workflow] of WORKFLOWS) {
    t.notOk('pull_request_target' in workflow.on, path)
    for (const { uses, run = '', with: inputs } of stepsOf(workflow)) {
      t.notMatch(run, '${{', path)
      if (uses?.startsWith('actions/checkout@')) t.equal(inputs?.['persist-credentials'], false, path)
    }
  }
})

t.test('CI is .ci/run, and every job has a timeout', async (t) => {
  t.same(stepsOf(workflow('ci')).flatMap(({ run = [] }) => run), ['.ci/run'])
  for (const { jobs } of WORKFLOWS.values()) {
    const endless = Object.values(jobs).filter((job) => job.uses === undefined && job['timeout-minutes'] === undefined)
    t.same(endless, [])
  }
  const steps = [...read('.ci/run').matchAll(/^step '(npm run ([\w:-]+))?.*$/gm)].flatMap(([, , name = []]) => name)
  t.same(steps.filter((name) => name !== 'dev' && !Object.hasOwn(scripts, name)), [])
})

t.test('a release needs a tag and passed CI; its image has an SBOM, provenance and a signature', async (t) => {
  const { on, jobs } = workflow('release')
  t.same(Object.keys(on), ['push'])
  t.same(on.push, { tags: ['v[0-9]+.[0-9]+.[0-9]+'] })
  t.equal(jobs.image?.needs, 'ci')
  t.equal(jobs.ci?.uses, './.github/workflows/ci.yml')
  const steps = jobs.image?.steps ?? []
  t.match(steps.find(({ uses }) => uses?.startsWith('docker/build-push-action@'))?.with, {
    platforms: 'linux/amd64,linux/arm64',
    sbom: true,
    provenance: 'mode=max',
    push: true
  })
  t.match(steps.at(-1)?.run, 'cosign sign --yes --recursive "$IMAGE@$DIGEST"')
  t.match(read('CHANGELOG.md'), new RegExp(`^## ${JSON.parse(read('package.json')).version}\\b`, 'm'))
})

t.test('a release is refused unless the tag is the version and CHANGELOG.md has nothing unreleased', async (t) => {
  const [step] = stepsOf(workflow('release')).filter(({ run }) => run?.includes('CHANGELOG.md'))
  const isReleased = (changelog: string, tag = 'v1.2.0') => {
    const folder = t.testdir({ 'CHANGELOG.md': changelog, output: '' })
    const env = {
      PATH: process.env.PATH,
      GITHUB_OUTPUT: join(folder, 'output'),
      GITHUB_REF_NAME: tag,
      GITHUB_REPOSITORY: 'Owner/Name'
    }
    const run = `jq () { echo 1.2.0; }\n${step?.run}`
    const { status } = spawnSync('bash', ['-e', '-c', run], { cwd: folder, env })
    return status === 0 && readFileSync(join(folder, 'output'), 'utf8') === 'image=ghcr.io/owner/name\nversion=1.2.0\n'
  }
  const released = '## 1.2.0 - 2026-12-01\n\n- More.\n'
  t.notOk(isReleased(`## Unreleased\n\n- Much.\n\n${released}`))
  t.notOk(isReleased(released.replace('1.2.0', '1.2.0-rc')))
  t.notOk(isReleased(released.replace('1.2.0', '1x2.0')))
  t.notOk(isReleased(released, 'v1.2.1'))
  t.ok(isReleased(released))
  t.ok(isReleased(`## Unreleased\n\n${released}`))
})

t.test('operate: the release resolves the digest of the base image, and builds from that one', async (t) => {
  const steps = workflow('release').jobs.image?.steps ?? []
  const base = steps.findIndex(({ run }) => run?.includes('imagetools inspect'))
  const build = steps.findIndex(({ uses }) => uses?.startsWith('docker/build-push-action@'))
  t.ok(base !== -1 && base < build, 'before it builds')
  // eslint-disable-next-line no-template-curly-in-string
  t.equal(steps[build]?.with?.['build-contexts'], '${{ steps.base.outputs.pinned }}')
  // The command that reads the Dockerfile, with an inspection that answers as a registry's does.
  const folder = t.testdir({
    docker: `#!/bin/sh\necho '{"digest":"sha256:${'a'.repeat(64)}"}'\n`, Dockerfile: read('Dockerfile'), output: ''
  })
  chmodSync(join(folder, 'docker'), 0o755)
  execFileSync('bash', ['-e', '-c', steps[base]?.run as string], {
    cwd: folder, env: { PATH: `${folder}:${process.env.PATH}`, GITHUB_OUTPUT: join(folder, 'output') }
  })
  const [, from] = /^FROM (\S+)$/m.exec(read('Dockerfile')) as RegExpExecArray
  t.match(readFileSync(join(folder, 'output'), 'utf8'),
    `pinned=${from}=docker-image://docker.io/library/${from}@sha256:${'a'.repeat(64)}\n`)
})

t.test('tests, image and CI use one version of Node.js', async (t) => {
  const minor = /^\d+\.\d+/.exec(devDependencies.node)?.[0]
  const images = [...read('Dockerfile').matchAll(/^FROM node:([\d.]+)-/gm)].map(([, version]) => version)
  t.same(images, [minor, minor])
  t.match(workflow('ci').jobs.ci?.container?.image, new RegExp(`^node:${minor}-`))
})

t.test('dependencies are updated in groups, after a week', async (t) => {
  const { updates } = parse(read('.github/dependabot.yml')) as { updates: Update[] }
  t.same(updates.map((update) => update['package-ecosystem']), ['npm', 'github-actions', 'docker', 'docker-compose'])
  for (const { groups, cooldown } of updates) t.ok(Object.keys(groups).length > 0 && cooldown['default-days'] >= 7)
  // One update alone would fail the test above, and hold up its group.
  const ignoring = updates.filter(({ ignore = [] }) => ignore.some((one) => one['dependency-name'] === 'node'))
  t.same(ignoring.map((update) => update['package-ecosystem']), ['npm', 'docker'])
  const folders = updates.flatMap(({ directories = [] }) => directories)
  t.same(folders.filter((folder) => !existsSync(join(ROOT, folder))), [])
})

for (const page of ['.github/CONTRIBUTING.md', '.github/SECURITY.md']) {
  t.test(`${page} names only commands and files that exist`, async (t) => {
    const text = read(page)
    for (const [, name] of text.matchAll(/npm run ([\w:-]+)/g)) t.ok(Object.hasOwn(scripts, String(name)), String(name))
    const paths = [...text.matchAll(/(?<![\w/.])(?:src|test|\.ci|\.github)\/[\w./-]*/g)].map(([path]) => path)
    t.same(paths.filter((path) => !existsSync(join(ROOT, path))), [])
  })
}

t.test('the test that CONTRIBUTING shows passes unchanged', async (t) => {
  const [, code] = /```ts\n([^]*?)```/.exec(read('.github/CONTRIBUTING.md')) as unknown as [string, string]
  const folder = join(ROOT, '.tap', `recipe-${process.pid}`)
  mkdirSync(folder, { recursive: true })
  t.teardown(() => rmSync(folder, { recursive: true }))
  writeFileSync(join(folder, 'recipe.test.ts'), code.replaceAll("from '../", `from '${ROOT}/test/`))
  const [command, ...before] = UNCOUNTED
  const file = join(folder, 'recipe.test.ts')
  const printed = execFileSync(command, [...before, process.execPath, file], { encoding: 'utf8' })
  t.match(printed, /^ok 1 - a caller without a policy mints nothing/m)
})

t.test('the one test that CONTRIBUTING runs by its name is in the file that it names', async (t) => {
  const [, file = '', name = ''] = /test:one -- (\S+) --grep '(.*)'/.exec(read('.github/CONTRIBUTING.md')) ?? []
  t.match(read(file), new RegExp(`^t\\.test\\('[^']*${name}`, 'm'))
})

t.test('field F30: skipped tests are listed with their reasons, at every depth', async (t) => {
  const results = [
    'ok 1 - a # time=1ms',
    '    ok 2 - B9: b # SKIP no nginx: apt-get install nginx',
    'ok 3 - c # SKIP no curl',
    'not ok 4 - d # TODO e',
    'ok 5 - f # SKIP no nginx: apt-get install nginx'
  ]
  const expected = ['2 skipped: no nginx: apt-get install nginx', '  B9: b', '  f', '1 skipped: no curl', '  c']
  t.same(skippedIn(results.join('\n')), expected)
})

t.test('field F30: a skipped test fails only in CI, and only a whole run there must cover everything', async (t) => {
  const PARTIAL = ['--allow-incomplete-coverage', '--allow-empty-coverage']
  t.same(gate({ isStrict: false, isWhole: true }), PARTIAL)
  t.same(gate({ isStrict: true, isWhole: false }), ['--fail-skip', ...PARTIAL])
  t.same(gate({ isStrict: true, isWhole: true }), ['--fail-skip'])
})

t.test('a file that runs alone gives a reason', async (t) => {
  t.ok(runsAlone('// Lines.\n// Runs alone: it measures time.\n'))
  t.notOk(runsAlone('// Runs alone:\n'))
  t.notOk(runsAlone("const text = '// Runs alone: no'\n"))
})

t.test('a file of many rounds runs by `npm run laws`, and so does one that tries a law some times', async (t) => {
  t.ok(isRounds('// Calls.\n// Rounds: a hundred calls in each.\n'))
  t.notOk(isRounds('// Rounds:\n'))
  const { scripts } = JSON.parse(read('package.json')) as { scripts: { laws: string } }
  const files = globSync('test/**/*.test.ts', { cwd: ROOT })
    .filter((path) => isRounds(read(path)) || /^import \{ times \}/m.test(read(path)))
  t.not(files.length, 0)
  const [, search = ''] = /\$\((.*)\)$/.exec(scripts.laws) ?? []
  const found = execFileSync('sh', ['-c', search], { cwd: ROOT, encoding: 'utf8' }).trim().split('\n').sort()
  t.same(found, files.sort())
})

t.test('a file that waits for long gives a reason', async (t) => {
  t.ok(startsFirst('// Leases.\n// Starts first: it takes half a minute.\n'))
  t.notOk(startsFirst('// Starts first:\n'))
})

t.test('each test file is in one group, unless it prepares something for all its tests', async (t) => {
  const sources: Record<string, string> = Object.fromEntries(['a', 'b', 'c/d', 'e'].flatMap((name) =>
    [`test/calls/${name}.test.ts`, `test/${name}.test.ts`, `test/browser/${name}.test.ts`]).map((path) => [path, '']))
  sources['test/calls/first.test.ts'] = '// Starts first: it waits.\n'
  sources['test/faults/own.test.ts'] = 't.before(start)\n'
  Object.assign(sources, { 'test/faults/f.test.ts': 't.jobs = 3\n', 'test/limits/g.test.ts': 't.jobs = 3\n' })
  const groups = orderedGroups(Object.keys(sources), (path) => sources[path] as string)
  t.same(groups.flatMap((group) => group.files).sort(), Object.keys(sources).sort())
  t.same(groups[0]?.files, ['test/calls/first.test.ts'])
  t.ok(groups.some(({ files }) => files.join() === 'test/faults/own.test.ts'))
  t.ok(groups.some(({ files }) => files.join() === 'test/faults/f.test.ts,test/limits/g.test.ts'))
  for (const { files } of groups) t.equal(new Set(files.map(isUncounted)).size, 1, 'counted together or not at all')
  t.notOk(hasOwnProcess("t.test('a', async (t) => {\n  t.teardown(stop)\n})\n"))
})
