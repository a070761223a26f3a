import t from 'tap'
import { drainRounds } from '../drain.ts'

t.setTimeout(60_000)

t.test('fault 33: three drains under load lose nothing that upstream minted', async (t) => {
  const told: string[] = []
  t.equal(await drainRounds(3, (line) => told.push(line)), 0, told.join('\n'))
})
