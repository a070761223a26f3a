import { once } from 'node:events'
import { type AddressInfo, createServer } from 'node:net'
import t from 'tap'
import { examineAudit, examineRedis } from '../../../src/commands/doctor/surroundings.ts'
import { addressOf, NO_REDIS, startRedis } from '../../support/redis.ts'
import { startRefusingRedis } from '../../support/resp.ts'

t.test('a Redis that takes writes and evicts nothing is well', { skip: NO_REDIS }, async (t) => {
  const { address } = await startRedis(t)
  t.same(
    await examineRedis(address),
    { state: 'ok', subject: 'redis', says: `127.0.0.1:${address.port} answers and takes writes, and evicts no keys` }
  )
})

t.test('one that evicts keys is not', { skip: NO_REDIS }, async (t) => {
  const { address } = await startRedis(t, '--maxmemory', '10mb', '--maxmemory-policy', 'allkeys-lru')
  t.match(await examineRedis(address), { state: 'wrong', says: /evicts_keys/, advice: /noeviction/ })
})

t.test('one that does not say whether it evicts is well as far as can be told', { skip: NO_REDIS }, async (t) => {
  const { address } = await startRedis(t, '--rename-command', 'INFO', '')
  t.match(await examineRedis(address), { state: 'ok', says: /does not say its maxmemory-policy/ })
})

t.test('one that asks for a password, or that nobody listens for, says what to do', async (t) => {
  const { address } = await startRefusingRedis(t, 'NOAUTH Authentication required.')
  t.match(await examineRedis(address), { state: 'wrong', says: /noauth/, advice: /user and password/ })
  const odd = await startRefusingRedis(t, 'ODD nobody knows this')
  t.match(await examineRedis(odd.address), { state: 'wrong', advice: /its log/ })
  t.match(await examineRedis(addressOf(9)), { state: 'wrong', says: /econnrefused/, advice: /start it/ })
})

t.test('one that says nothing is given up', async (t) => {
  const server = createServer((socket) => t.teardown(() => socket.destroy())).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => server.close())
  let now = 0
  t.match(
    await examineRedis(addressOf((server.address() as AddressInfo).port), () => (now += 1000)),
    { state: 'wrong', says: /timeout/, advice: /rediss/ }
  )
})

t.test('audit lines go to stdout, or to where they can be written', async (t) => {
  const folder = t.testdir({ 'audit.jsonl': '', sub: {} })
  t.match(await examineAudit(null), { state: 'ok', says: /stdout/ })
  t.match(await examineAudit(`${folder}/audit.jsonl`), { state: 'ok', says: /can be appended to/ })
  t.match(await examineAudit(`${folder}/new.jsonl`), { state: 'ok', says: /can be made/ })
  t.match(await examineAudit(folder), { state: 'wrong', says: /is a folder/ })
  t.match(
    await examineAudit(`${folder}/nowhere/audit.jsonl`),
    { state: 'wrong', says: /cannot be written/, advice: /AUDIT_FILE/ }
  )
})

t.test('a path that cannot be written is told, whoever asks', async (t) => {
  // Root writes to any file; to a folder nobody does.
  t.match(await examineAudit(t.testdir({})), { state: 'wrong' })
})
