import t from 'tap'
import { soak } from '../soak.ts'

t.setTimeout(60_000)

t.test('I5, I7, fault 48: five seconds of faults: what is granted is audited, delivered or told to be undelivered, and counted once', async (t) => {
  const told: string[] = []
  t.same(await soak({ seconds: 5, rate: 50, report: (line) => told.push(line) }), [])
  t.comment(told.join('\n'))
})
