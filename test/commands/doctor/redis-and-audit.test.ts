import { once } from 'node:events'
import { type AddressInfo, createServer } from 'node:net'
import t from 'tap'
import { checkAudit, checkRedis } from '../../../src/commands/doctor/redis-and-audit.ts'
import { addressOf, NO_REDIS, startRedis } from '../../support/redis.ts'
import { startRefusingRedis } from '../../support/resp.ts'

t.test('a Redis that accepts writes and evicts nothing is ok', { skip: NO_REDIS }, async (t) => {
  const { address } = await startRedis(t)
  const message = `127.0.0.1:${address.port} answers and accepts writes, and evicts no keys`
  t.same(await checkRedis(address), { state: 'ok', subject: 'redis', message })
})

t.test('a Redis that evicts keys is wrong', { skip: NO_REDIS }, async (t) => {
  const { address } = await startRedis(t, '--maxmemory', '10mb', '--maxmemory-policy', 'allkeys-lru')
  t.match(await checkRedis(address), { state: 'wrong', message: /evicts_keys/, advice: /noeviction/ })
})

t.test('a Redis that hides its maxmemory-policy is ok, with a hint', { skip: NO_REDIS }, async (t) => {
  const { address } = await startRedis(t, '--rename-command', 'INFO', '')
  t.match(await checkRedis(address), { state: 'ok', message: /maxmemory-policy is not known/ })
})

t.test('a Redis that needs a password or cannot be reached is reported with advice', async (t) => {
  const { address } = await startRefusingRedis(t, 'NOAUTH Authentication required.')
  t.match(await checkRedis(address), { state: 'wrong', message: /noauth/, advice: /user and password/ })
  const odd = await startRefusingRedis(t, 'ODD nobody knows this')
  t.match(await checkRedis(odd.address), { state: 'wrong', advice: /its log/ })
  t.match(await checkRedis(addressOf(9)), { state: 'wrong', message: /econnrefused/, advice: /start it/ })
})

t.test('a Redis that does not answer times out', async (t) => {
  const server = createServer((socket) => t.teardown(() => socket.destroy())).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => server.close())
  let now = 0
  t.match(
    await checkRedis(addressOf((server.address() as AddressInfo).port), () => (now += 1000)),
    { state: 'wrong', message: /timeout/, advice: /rediss/ }
  )
})

t.test('audit lines go to stdout or to a writable file', async (t) => {
  const folder = t.testdir({ 'audit.jsonl': '', sub: {} })
  t.match(await checkAudit(null), { state: 'ok', message: /stdout/ })
  t.match(await checkAudit(`${folder}/audit.jsonl`), { state: 'ok', message: /can be appended to/ })
  t.match(await checkAudit(`${folder}/new.jsonl`), { state: 'ok', message: /can be created/ })
  t.match(await checkAudit(folder), { state: 'wrong', message: /is a folder/ })
  t.match(
    await checkAudit(`${folder}/nowhere/audit.jsonl`),
    { state: 'wrong', message: /cannot be written/, advice: /AUDIT_FILE/ }
  )
})

t.test('an audit path that is a folder is wrong, also for root', async (t) => {
  // Root can write to any file, but not to a folder.
  t.match(await checkAudit(t.testdir({})), { state: 'wrong' })
})
