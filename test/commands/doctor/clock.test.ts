import t from 'tap'
import { compareClocks } from '../../../src/commands/doctor/clock.ts'

const NOW = Date.UTC(2026, 10, 21, 12)
const at = (seconds: number) => new Date(NOW + seconds * 1000).toUTCString()

t.test('where nobody says what time it is, that is said', async (t) => {
  const clocks = compareClocks(() => NOW)
  clocks.hear('one', undefined, NOW)
  t.match(clocks.findings(), [{ state: 'note', subject: 'clock' }])
})

t.test('half a minute is agreement, as it is for tokens', async (t) => {
  const clocks = compareClocks(() => NOW)
  clocks.hear('one', at(0), NOW)
  clocks.hear('two', at(29), NOW)
  clocks.hear('three', at(-30), NOW)
  t.match(clocks.findings(), [{ state: 'ok', says: 'agrees with one, two, three' }])
})

t.test('more is told with its size and its direction, and whose clock to look at', async (t) => {
  const ours = compareClocks(() => NOW)
  ours.hear('one', at(90), NOW)
  t.match(
    ours.findings(), [{ state: 'wrong', says: 'this machine is 90 s behind one', advice: /clock of this machine/ }]
  )
  const theirs = compareClocks(() => NOW)
  theirs.hear('one', at(-3600), NOW)
  theirs.hear('two', at(0), NOW)
  t.match(
    theirs.findings(), [{ state: 'wrong', says: /^this machine is 3600 s ahead of one$/, advice: /one of the clocks/ }]
  )
})

t.test('a slow answer is not taken for a wrong clock', async (t) => {
  const clocks = compareClocks(() => NOW + 40_000)
  clocks.hear('one', at(20), NOW)
  t.match(clocks.findings(), [{ state: 'ok' }])
})
