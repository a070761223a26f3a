import t from 'tap'
import { callCommand, runCommand } from '../support/command.ts'

const GOOD = `
callers: [{ jwt: { issuer: 'https://auth.test/', audience: voice } }]
policies:
  - name: all
    when: any
    limits: none
    realtime: { fixed: { tools: [{ type: mcp, server_label: crm, headers: { X-Key: { $env: MCP_KEY } } }] } }
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
