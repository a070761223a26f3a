import t from 'tap'
import type { Caller } from '../../src/callers/caller.ts'
import { createMemory, memoryKey } from '../../src/callers/memory.ts'

const callerOf = (claims: Caller['claims'] = {}): Caller => ({ issuer: 'a', subject: 'b', claims, expiresAt: 1e9 })

t.test('memory is bounded, by number and by size', async (t) => {
  const { remember, recall } = createMemory(60_000, () => 0)
  for (let i = 0; i < 10_001; i++) remember(`caller-${i}`, callerOf())
  t.equal(recall('caller-0'), undefined)
  t.ok(recall('caller-1'))
  const large = callerOf({ blob: 'x'.repeat(64 * 1024) })
  for (let i = 0; i < 10_001; i++) remember(`large-${i}`, large)
  const kept = Array.from({ length: 10_001 }, (_, i) => recall(`large-${i}`)).filter(Boolean).length
  t.ok(kept > 100 && kept <= 128, `${kept} are kept`)
})

t.test('the key is not the credential', async (t) => {
  t.match(memoryKey('token'), /^[\w-]{43}$/)
  t.not(memoryKey('token'), memoryKey('token='))
})
