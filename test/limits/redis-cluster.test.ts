import t from 'tap'
import { startCluster } from '../support/redis-cluster.ts'
import { NO_REDIS } from '../support/redis.ts'
import { ADA, connectStore } from './store.ts'

t.test('a cluster counts', { skip: NO_REDIS }, async (t) => {
  console.time('start')
  const cluster = await startCluster(t)
  console.timeEnd('start')
  for (const address of [cluster.address, cluster.tlsAddress]) {
    const store = await connectStore(t, { address })
    console.timeLog
    const take = await store.take([ADA])
    t.ok(take.taken)
    await take.giveBack()
    console.log(store.log.kept)
  }
})
