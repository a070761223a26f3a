import t from 'tap'
import { compareClocks } from '../../../src/commands/doctor/clock.ts'

const NOW = Date.UTC(2026, 10, 21, 12)
const at = (seconds: number) => new Date(NOW + seconds * 1000).toUTCString()

t.test('without a Date header the clock is not checked, and a note is reported', async (t) => {
  const clocks = compareClocks(() => NOW)
  clocks.record('one', undefined, NOW)
  t.match(clocks.findings(), [{ state: 'note', subject: 'clock' }])
})

t.test('a difference of 30 s is accepted, as for tokens', async (t) => {
  const clocks = compareClocks(() => NOW)
  clocks.record('one', at(0), NOW)
  clocks.record('two', at(29), NOW)
  clocks.record('three', at(-30), NOW)
  t.match(clocks.findings(), [{ state: 'ok', message: 'agrees with one, two, three' }])
})

t.test('a larger difference is reported with its size, its direction and the clock to set', async (t) => {
  const ours = compareClocks(() => NOW)
  ours.record('one', at(90), NOW)
  t.match(
    ours.findings(), [{ state: 'wrong', message: 'this machine is 90 s behind one', advice: /clock of this machine/ }]
  )
  const theirs = compareClocks(() => NOW)
  theirs.record('one', at(-3600), NOW)
  theirs.record('two', at(0), NOW)
  t.match(
    theirs.findings(),
    [{ state: 'wrong', message: /^this machine is 3600 s ahead of one$/, advice: /one of the clocks/ }]
  )
})

t.test('a slow response is not taken for a wrong clock', async (t) => {
  const clocks = compareClocks(() => NOW + 40_000)
  clocks.record('one', at(20), NOW)
  t.match(clocks.findings(), [{ state: 'ok' }])
})
