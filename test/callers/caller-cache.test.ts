import t from 'tap'
import { createCaller } from '../../src/callers/caller.ts'
import { createMemory, memoryKey } from '../../src/callers/caller-cache.ts'

const caller = createCaller('a', 'b', {}, 1e9)

t.test('memory is bounded, by number and by size', async (t) => {
  const { remember, recall } = createMemory(60_000, () => 0)
  for (let i = 0; i < 10_001; i++) remember(`caller-${i}`, caller, 100)
  t.equal(recall('caller-0'), undefined)
  t.ok(recall('caller-1'))
  for (let i = 0; i < 10_001; i++) remember(`large-${i}`, caller, 64 * 1024)
  const kept = Array.from({ length: 10_001 }, (_, i) => recall(`large-${i}`)).filter(Boolean).length
  t.ok(kept > 100 && kept <= 128, `${kept} are kept`)
})

t.test('the key is not the credential', async (t) => {
  t.match(memoryKey('token'), /^[\w-]{43}$/)
  t.not(memoryKey('token'), memoryKey('token='))
})
