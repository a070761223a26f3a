import t from 'tap'
import { startProgress } from '../../src/commands/progress.ts'

function terminal (isTTY?: boolean) {
  const written: string[] = []
  return { written, isTTY, write: (text: string) => { written.push(text) } }
}

t.test('nothing is written to a pipe, however long the command runs', async (t) => {
  let now = 0
  const { written, ...pipe } = terminal()
  const progress = startProgress(pipe as never, () => now)
  now = 60_000
  progress.show('one')
  progress.end()
  t.same(written, [])
})

t.test('on a terminal the step is shown after two seconds, at a readable rate, and erased at the end', async (t) => {
  let now = 0
  const { written, ...tty } = terminal(true)
  const progress = startProgress(tty as never, () => now)
  progress.show('one')
  now = 1999
  progress.show('two')
  t.same(written, [])
  now = 2000
  progress.show('three')
  now = 2100
  progress.show('four')
  now = 3500
  progress.show('five')
  progress.end()
  t.same(written, ['\r\x1b[Kthree (2 s)', '\r\x1b[Kfive (3 s)', '\r\x1b[K'])
})

t.test('a command that ends within two seconds shows nothing', async (t) => {
  const { written, ...tty } = terminal(true)
  const progress = startProgress(tty as never)
  progress.show('one')
  progress.end()
  t.same(written, [])
})
