import t from 'tap'
import { readConfig } from '../../src/config/environment.ts'
import { createUpstreamClient } from '../../src/upstream/client.ts'
import { openKey } from '../../src/upstream/key.ts'
import { createUpstreamBreaker } from '../../src/upstream/outage.ts'

const log = { info: () => {}, warn: () => {}, error: () => {}, debug: () => {} }
const env = { OPENAI_API_KEY: 'sk-test', OPENAI_BASE_URL: 'http://127.0.0.1:9/v1' }

t.test('fault 44: a key file that is not there stops the start', async (t) => {
  const { upstream } = readConfig(env)
  t.throws(
    () => openKey({ ...upstream, key: { file: `${t.testdirName}/nowhere` } }, log), { message: /OPENAI_API_KEY_FILE/ }
  )
})

t.test('the breaker does not take a fault of ours for one of upstream', async (t) => {
  await t.rejects(
    createUpstreamBreaker(log).ask(async () => { throw new TypeError('ours') }, 'ada'), { message: 'ours' }
  )
})

t.test('a client that has asked nothing yet is at rest', async (t) => {
  const { upstream } = readConfig(env)
  const client = createUpstreamClient(upstream, { key: openKey(upstream, log), log })
  t.same(client.state(), { inFlight: 0, isBreakerOpen: false })
  await client.close()
})
