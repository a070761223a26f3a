import t from 'tap'
import { callCommand, runCommand } from '../support/command.ts'

const GOOD = `
callers: [{ jwt: { issuer: 'https://auth.test/', audience: voice } }]
policies:
  - name: all
    when: any
    limits: none
    realtime:
      fixed:
        model: gpt-realtime-2.1
        tools: [{ type: mcp, server_label: crm, headers: { X-Key: { $env: MCP_KEY } } }]
`

t.test('without a file, or with two, the usage is printed', async (t) => {
  for (const args of [[], ['a.yaml', 'b.yaml'], ['a.yaml', '--surprise']]) {
    const { code, out, err } = await callCommand('check-config', args)
    t.equal(code, 2, args.join(' '))
    t.equal(out, '')
    t.match(err, /^usage: /)
  }
})

t.test('field F19: CORS_ORIGINS is checked, and a * in it with cookies', async (t) => {
  const dir = t.testdir({ 'policy.yaml': GOOD.replace('audience: voice', 'audience: voice, cookie: session') })
  const check = (origins: string) =>
    callCommand('check-config', [`${dir}/policy.yaml`], { MCP_KEY: 'x', CORS_ORIGINS: origins })
  t.match(await check('null'), { code: 1, err: /^CORS_ORIGINS entry 1 is not an exact origin/ })
  t.match(await check('https://app-*.example.com'), { code: 1, out: /^problem {2}callers accept cookies, so CORS_OR/m })
  t.match(await check('https://app.example.com'), { code: 0 })
})

t.test('fault 42: a file that cannot be read is an error', async (t) => {
  const { code, err } = await callCommand('check-config', ['/nowhere/policy.yaml'])
  t.equal(code, 1)
  t.match(err, /^\/nowhere\/policy\.yaml cannot be read/)
})

t.test('all problems are reported at once, including those of callers, and without values', async (t) => {
  const dir = t.testdir({
    'policy.yaml': `
callers: [{ jwt: { issuer: 'http://canary.test/' } }]
polices: []
policies:
  - name: one
    when: any
    realtime: { fixed: { model: canary }, allow: { model: { enum: [canary] } }, prompts: [canary] }
  - { name: two, when: { plan: [] }, deny: true }
`
  })
  const { code, out, err } = await callCommand('check-config', [`${dir}/policy.yaml`])
  t.equal(code, 1)
  t.equal(err, '')
  t.strictSame(out.trimEnd().split('\n').map((line) => line.split(' ').slice(0, 4).join(' ')).sort(), [
    'problem  callers.0.jwt.audience is',
    'problem  callers.0.jwt.issuer must',
    'problem  polices is',
    'problem  policies.0 needs',
    'problem  policies.0.realtime.allow.model is',
    'problem  policies.0.realtime.prompts.0 names',
    'problem  policies.1.when.plan must'
  ])
  t.notMatch(out, 'canary')
})

const CALLERS = "callers: [{ jwt: { issuer: 'https://auth.test/', audience: voice } }, { guest: {} }]\n"
const REALTIME = 'realtime: { fixed: { model: gpt-realtime-2.1 } }'
const ordered = (...whens: string[]) => `${CALLERS}policies:\n` +
  whens.map((when, i) => `  - { name: p${i}, when: ${when}, limits: { day: 1 }, ${REALTIME} }\n`).join('')
const realtime = (rules: string) => `${CALLERS}prompts: { ada: { session: { model: gpt-realtime-2.1 } } }
policies: [{ name: one, when: any, limits: none, realtime: ${rules} }]
`
const MISTAKES: [what: string, file: string, problem: string | null][] = [
  ['behind any', ordered('any', '{ plan: pro }'), 'policies.1.when is never reached: policies.0 has all'],
  ['any behind any', ordered('{ plan: pro }', 'any', 'any'), 'policies.2.when is never reached: policies.1 has all'],
  ['guests behind guests', ordered('guest', 'guest'), 'policies.1.when is never reached: policies.0 has all'],
  ['behind one condition of its own', ordered('{ plan: [pro, free] }', '{ plan: pro, beta: true }'),
    'policies.1.when is never reached: policies.0 has all'],
  ['guests behind any', ordered('any', 'guest'), null],
  ['any behind guests', ordered('guest', 'any'), null],
  ['the wider one behind', ordered('{ plan: pro, beta: true }', '{ plan: pro }', 'any'), null],
  ['more values behind', ordered('{ plan: pro }', '{ plan: [pro, free] }'), null],
  ['no model', realtime('{}'), 'policies.0.realtime has no model: write one under fixed'],
  ['a model that is ignored', realtime('{ ignore: [model] }'), 'policies.0.realtime has no model'],
  ['a model by default', realtime('{ defaults: { model: gpt-realtime-2.1 } }'), null],
  ['a model of the prompt', realtime('{ default_prompt: ada }'), null],
  ['a model of the client', realtime('{ allow: { model: { enum: [a, b] } } }'), null],
  ['a field of the beta', realtime('{ fixed: { model: a, voice: marin } }'),
    'policies.0.realtime.fixed.voice is a name of the beta: write audio.output.voice'],
  ['a member of a field of the beta', realtime('{ fixed: { model: a, turn_detection: { threshold: 1 } } }'),
    'policies.0.realtime.fixed.turn_detection.threshold is a name of the beta: write audio.input.turn_detection.thre'],
  ['a field of the beta that has members now', realtime('{ fixed: { model: a }, allow: { voice.x: { enum: [a] } } }'),
    'policies.0.realtime.allow.voice.x is a name of the beta: write audio.output.voice'],
  ['a path of the request', realtime('{ fixed: { model: a }, allow: { session.audio.output.voice: { enum: [a] } } }'),
    'policies.0.realtime.allow.session.audio.output.voice begins with session, where paths begin inside it: write au'],
  ['a path of the request, by the beta', realtime('{ fixed: { session: { model: a, voice: b } } }'),
    'policies.0.realtime.fixed.session.voice begins with session, where paths begin inside it: write audio.output.vo'],
  ['a path of the request that is ignored', realtime('{ fixed: { model: a }, ignore: [session.tools] }'),
    'policies.0.realtime.ignore begins with session, where paths begin inside it: write tools'],
  ['a field of the beta that is hidden', realtime('{ fixed: { model: a }, hide: [voice] }'),
    'policies.0.realtime.hide voice is a name of the beta: write audio.output.voice'],
  ['a field of the beta that is ignored: clients may send it', realtime('{ fixed: { model: a }, ignore: [voice] }'),
    null],
  ['a path as one name', realtime('{ fixed: { model: a, audio.output.voice: marin } }'),
    'policies.0.realtime.fixed.audio.output.voice is one name with dots in it: write audio: { output: { voice: … } }'],
  ['a path as one name inside a member', realtime('{ fixed: { model: a, audio: { output.voice: marin } } }'),
    'policies.0.realtime.fixed.audio.output.voice is one name with dots in it: write audio: { output: { voice: … } }'],
  ['a path of the request as one name', realtime('{ fixed: { model: a, session.instructions: b } }'),
    'policies.0.realtime.fixed.session.instructions is one name with dots in it: write instructions: …'],
  ['a name with dots that is no path', realtime('{ fixed: { model: a, x.y: 1 } }'), null],
  ['a path that no version knows', realtime('{ fixed: { model: a, audio: { output: { colour: red } } } }'), null]
]

t.test('operate O14: what loads and no one can mean is a problem, with what to write instead', async (t) => {
  const secret = { SAFETY_IDENTIFIER_SECRET: 's'.repeat(32) }
  const dir = t.testdir(Object.fromEntries(MISTAKES.map(([, file], i) => [`${i}.yaml`, file])))
  for (const [i, [what, , problem]] of MISTAKES.entries()) {
    const { code, out } = await callCommand('check-config', [`${dir}/${i}.yaml`], secret)
    if (problem === null) t.match({ code, out }, { code: 0, out: /is valid/ }, `${what}: ${out}`)
    else t.match({ code, out }, { code: 1, out: `problem  ${problem}` }, `${what}: ${out}`)
  }
})

t.test('a missing secret is a problem, and an existing one is not printed', async (t) => {
  const dir = t.testdir({ 'policy.yaml': GOOD })
  const without = await callCommand('check-config', [`${dir}/policy.yaml`])
  t.equal(without.code, 1)
  t.match(
    without.out, /^problem {2}policies\.0\.realtime\.fixed\.tools\.0\.headers\.X-Key names MCP_KEY, which is not set/m
  )

  const { code, out } = await runCommand('check-config', [`${dir}/policy.yaml`], { MCP_KEY: 'canary-mcp-key' })
  t.equal(code, 0)
  t.match(out, /^warning {2}policies\.0\.realtime\.fixed\.tools\.0\.headers is left out/)
  t.match(out, /policy\.yaml is valid\n$/)
  t.notMatch(out, 'canary')
})
