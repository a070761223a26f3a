import t from 'tap'
import { openLimits } from '../../src/limits/open.ts'
import { addressOf, NO_REDIS, startRedis } from '../support/redis.ts'
import { until } from '../support/until.ts'
import { ADA } from './store.ts'

const log = { info: () => {}, warn: () => {}, error: () => {} }
const UNREACHABLE = addressOf(1)

t.test('fault 26: where Redis is lost at the start, only a replica that may count alone is ready', async (t) => {
  const denying = await openLimits({ redis: UNREACHABLE, onRedisLoss: 'deny' }, log)
  t.notOk(denying.isReady())
  await t.rejects(async () => denying.store.take([ADA]), { code: 'limits_unavailable' })
  t.match(denying.state(), { isUp: false, isAlone: false, local: 0 })
  const alone = await openLimits({ redis: UNREACHABLE, onRedisLoss: 'local' }, log)
  t.ok(alone.isReady())
  t.equal((await alone.store.take([ADA])).taken, true)
  t.match(alone.state(), { isUp: false, isAlone: true, local: 1 })
  for (const { store } of [denying, alone]) await store.close()
})

t.test('without Redis limits are held in memory, and that is no loss', async (t) => {
  const { store, isReady, state } = await openLimits({ redis: null, onRedisLoss: 'deny' }, log)
  t.ok(isReady())
  t.equal((await store.take([ADA])).taken, true)
  t.same(state(), { isUp: true, isAlone: false, local: 0, notGivenBack: 0, dataLosses: 0 })
})

t.test('with Redis limits are held there', { skip: NO_REDIS }, async (t) => {
  const redis = await startRedis(t)
  const { store, isReady, state } = await openLimits({ redis: redis.address, onRedisLoss: 'local' }, log)
  t.teardown(() => store.close())
  await until('Redis to be up', () => state().isUp)
  t.ok(isReady())
  await store.take([ADA])
  t.match(state(), { isUp: true, isAlone: false, local: 0 })
  t.equal(await redis.control.exists('{ephemint}:caller:ada:day'), 1)
})
