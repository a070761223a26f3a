// A property of every store: it counts as the memory store does.

import assert from 'node:assert/strict'
import fc from 'fast-check'
import type { Redis } from 'ioredis'
import { type Bucket, type LimitStore, type Take, WINDOW_MS, type WindowState } from '../../src/limits/limits.ts'
import { createMemoryStore } from '../../src/limits/memory.ts'
import { letTimePass } from '../support/redis.ts'

/** Windows end and are compared in steps that are far longer than a run, because real time passes too. */
const STEP_MS = 10_000

const windows = fc.record(
  { minute: fc.integer({ min: 1, max: 3 }), hour: fc.integer({ min: 1, max: 5 }), day: fc.integer({ min: 1, max: 6 }) },
  { requiredKeys: [] }
)
const limits = fc.record({ ada: windows, bob: windows, total: windows })
const step = fc.oneof(
  { weight: 8, arbitrary: fc.record({ do: fc.constantFrom('take', 'fail'), who: fc.constantFrom('ada', 'bob') }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constantFrom('giveBack', 'refund'), which: fc.nat({ max: 3 }) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('wait' as const), steps: fc.constantFrom(1, 3, 6, 360, 8640) }) }
)

/** `control` reaches the server that has the keys. */
export async function countsAsMemory (shared: LimitStore, control: Redis, runs: number): Promise<void> {
  await fc.assert(fc.asyncProperty(limits, fc.array(step, { maxLength: 30 }), async (limits, steps) => {
    await letTimePass(control, 2 * WINDOW_MS.day)
    let now = 0
    const model = createMemoryStore({ now: () => now })
    const taken: { model: Take, shared: Take }[] = []
    for (const step of steps) {
      if (step.do === 'wait') {
        now += step.steps * STEP_MS
        await letTimePass(control, step.steps * STEP_MS)
      } else if ('which' in step) {
        const both = taken.splice(step.which, 1)[0]
        await both?.model[step.do]()
        await both?.shared[step.do]()
      } else {
        taken.push(
          await takeFromBoth(model, shared, bucketsOf(step.who, limits[step.who as 'ada' | 'bob'], limits.total))
        )
        const failed = step.do === 'fail' ? taken.pop() : undefined
        await failed?.model.refund()
        await failed?.shared.refund()
      }
      const all = [...bucketsOf('ada', limits.ada, limits.total), ...bucketsOf('bob', limits.bob, {})]
      assert.deepEqual(seen(await shared.peek(all)), seen(await model.peek(all)))
    }
  }), { numRuns: runs })
}

async function takeFromBoth (
  model: LimitStore, shared: LimitStore, buckets: Bucket[]
): Promise<{ model: Take, shared: Take }> {
  const both = { model: await model.take(buckets), shared: await shared.take(buckets) }
  assert.equal(both.shared.taken, both.model.taken)
  assert.deepEqual(seen(both.shared.windows), seen(both.model.windows))
  return both
}

function bucketsOf (who: string, own: Bucket['windows'], total: Bucket['windows']): Bucket[] {
  return [{ key: `caller:${who}`, windows: own }, { key: 'policy:pro', windows: total }]
    .filter(({ windows }) => Object.keys(windows).length > 0)
}

function seen (states: readonly WindowState[]) {
  return states.map(({ key, window, limit, remaining, resetMs }) =>
    ({ key, window, limit, remaining, steps: Math.ceil(resetMs / STEP_MS) }))
}
