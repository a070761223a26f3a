import t from 'tap'
import { startProgress } from '../../src/commands/progress.ts'

function terminal (isTTY?: boolean) {
  const written: string[] = []
  return { written, isTTY, write: (text: string) => { written.push(text) } }
}

t.test('in a pipe nothing is written, however long it takes', async (t) => {
  let now = 0
  const { written, ...pipe } = terminal()
  const progress = startProgress(pipe as never, () => now)
  now = 60_000
  progress.tell('one')
  progress.end()
  t.same(written, [])
})

t.test('at a terminal it is told from two seconds on, not faster than it can be read, and leaves no trace', async (t) => {
  let now = 0
  const { written, ...tty } = terminal(true)
  const progress = startProgress(tty as never, () => now)
  progress.tell('one')
  now = 1999
  progress.tell('two')
  t.same(written, [])
  now = 2000
  progress.tell('three')
  now = 2100
  progress.tell('four')
  now = 3500
  progress.tell('five')
  progress.end()
  t.same(written, ['\r\x1b[Kthree (2 s)', '\r\x1b[Kfive (3 s)', '\r\x1b[K'])
})

t.test('what ends within two seconds was never shown', async (t) => {
  const { written, ...tty } = terminal(true)
  const progress = startProgress(tty as never)
  progress.tell('one')
  progress.end()
  t.same(written, [])
})
