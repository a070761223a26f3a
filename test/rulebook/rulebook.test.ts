import { join } from 'node:path'
import t from 'tap'
import { createKeySets } from '../../src/callers/jwks.ts'
import { policyEnvironment } from '../../src/config/environment.ts'
import { openRulebook } from '../../src/rulebook/rulebook.ts'

const log = { info: () => {}, warn: () => {}, error: () => {} }
const POLICY = `
callers: [ { jwt: { issuer: 'https://a.test/', audience: voice, secret_env: SECRET } } ]
policies: [ { name: everyone, when: any, limits: none, realtime: { fixed: { model: gpt-realtime-2.1 } } } ]
`

t.test('fault 42: a missing or empty policy file does not open', async (t) => {
  const folder = t.testdir({ 'empty.yaml': '' })
  for (const name of ['empty.yaml', 'nowhere.yaml']) {
    const path = join(folder, name)
    t.throws(() =>
      openRulebook(path, { ...policyEnvironment({}, path), log, keySets: createKeySets({ log }) }), { name: 'Error' })
  }
})

t.test('fault 42: a rulebook opens as generation 1', async (t) => {
  const path = join(t.testdir({ 'ephemint.yaml': POLICY }), 'ephemint.yaml')
  const rulebook = openRulebook(
    path, { ...policyEnvironment({ SECRET: 'x'.repeat(32) }, path), log, keySets: createKeySets({ log }) }
  )
  t.equal(rulebook.generation(), 1)
  t.equal(rulebook.failedReloads(), 0)
  t.equal(rulebook.current().policies.policies[0]?.name, 'everyone')
  rulebook.close()
})
