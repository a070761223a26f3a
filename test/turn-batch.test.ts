import { setImmediate as turn } from 'node:timers/promises'
import t from 'tap'
import { createBatch } from '../src/turn-batch.ts'

t.test('work of one turn is done in the next one, in order, before the work that it queues', async (t) => {
  const batch = createBatch()
  const done: string[] = []
  for (const name of ['a', 'b']) {
    batch(() => {
      done.push(name)
      batch(() => done.push(`after ${name}`))
      queueMicrotask(() => done.push(`then ${name}`))
    })
  }
  t.same(done, [], 'nothing yet')
  await turn()
  t.same(done, ['a', 'b', 'then a', 'then b'])
  await turn()
  t.same(done.slice(4), ['after a', 'after b'])
  batch(() => done.push('c'))
  await turn()
  t.equal(done.at(-1), 'c')
})
