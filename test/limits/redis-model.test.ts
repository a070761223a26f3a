import t from 'tap'
import { NO_REDIS, startRedis } from '../support/redis.ts'
import { times } from '../support/times.ts'
import { countsAsMemory } from './model.ts'
import { connectStore } from './store.ts'

t.test('edge M4: whatever is taken, given back, refunded and waited for, Redis counts as the memory store does', {
  skip: NO_REDIS
}, async (t) => {
  const redis = await startRedis(t)
  const store = await connectStore(t, redis)
  await countsAsMemory(store, redis.control, times(15))
  t.same(store.messages().filter((message) => message.startsWith('Redis is lost')), [])
})
