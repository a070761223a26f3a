import t from 'tap'
import { createCaller } from '../../src/callers/caller.ts'
import { cacheKey, createCallerCache } from '../../src/callers/caller-cache.ts'

const caller = createCaller({ issuer: 'a', subject: 'b', claims: {}, expiresAt: 1e9 })

t.test('the cache of callers is bounded, by number and by size', async (t) => {
  const { get, set } = createCallerCache(60_000, () => 0)
  for (let i = 0; i < 10_001; i++) set(`caller-${i}`, caller, 100)
  t.equal(get('caller-0'), undefined)
  t.ok(get('caller-1'))
  for (let i = 0; i < 10_001; i++) set(`large-${i}`, caller, 64 * 1024)
  const kept = Array.from({ length: 10_001 }, (_, i) => get(`large-${i}`)).filter(Boolean).length
  t.ok(kept > 100 && kept <= 128, `${kept} are kept`)
})

t.test('A42: the cache key is a hash of the whole credential', async (t) => {
  t.match(cacheKey('token'), /^[\w-]{43}$/)
  t.not(cacheKey('token'), cacheKey('token='))
})
