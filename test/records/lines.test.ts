// Lines that are confirmed only once the kernel has them, whatever becomes of the file.
// Runs alone: it measures how long the event loop stands still.

import { execFileSync } from 'node:child_process'
import {
  closeSync, existsSync, mkdirSync, openSync, readdirSync, readFileSync, readlinkSync, renameSync, rmdirSync,
  rmSync, statSync
} from 'node:fs'
import { join } from 'node:path'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import t, { type Test } from 'tap'
import { openLines } from '../../src/records/lines.ts'
import { makePipe } from '../support/pipe.ts'
import { until } from '../support/until.ts'

t.jobs = 6

const WITHIN_MS = 1300

async function open (t: Test, path: string) {
  const lines = await openLines(path)
  t.teardown(lines.close)
  return lines
}

async function openInFolder (t: Test) {
  const path = join(t.testdir({}), 'audit.log')
  return { path, lines: await open(t, path), text: () => readFileSync(path, 'utf8') }
}

async function openFullPipe (t: Test) {
  const pipe = makePipe(t)
  const lines = await open(t, pipe.path)
  pipe.fill()
  return { lines, read: () => pipe.read().trimStart(), close: pipe.close }
}

async function timed (confirming: Promise<unknown>): Promise<number> {
  const startedAt = performance.now()
  await confirming.catch(() => {})
  return performance.now() - startedAt
}

t.test('fault 45: a path that cannot be opened for appending is an error at start', { buffered: true }, async (t) => {
  const folder = t.testdir({ taken: {} })
  await t.rejects(openLines(join(folder, 'no', 'such', 'folder')))
  await t.rejects(openLines(join(folder, 'taken')))
})

t.test('fault 45: a named pipe without a reader is an error at start, not a thread that waits', {
  buffered: true
}, async (t) => {
  const path = join(t.testdir({}), 'pipe')
  execFileSync('mkfifo', [path])
  await t.rejects(openLines(path), { code: 'ENXIO' })
})

t.test('fault 45: on a full disk no line is confirmed, the failure is immediate, and no write is tried for a second', {
  buffered: true
}, async (t) => {
  const lines = await open(t, '/dev/full')
  t.notOk(lines.isStuck())
  await t.rejects(lines.confirm('line\n'), { code: 'ENOSPC' })
  t.ok(lines.isStuck())
  lines.write('log\n')
  await until('the loss to be counted', () => lines.lost() === 1)
  await until('another try', () => !lines.isStuck(), WITHIN_MS)
})

t.test('fault 45: in a full pipe no line is confirmed within a second, and the event loop goes on', {
  buffered: true
}, async (t) => {
  const { lines, read } = await openFullPipe(t)
  const delay = monitorEventLoopDelay({ resolution: 10 })
  delay.enable()
  const confirming = lines.confirm('first\n', { ifLate: () => 'late\n' })
  t.ok(await timed(confirming) < WITHIN_MS)
  await t.rejects(confirming, { message: 'not written in time' })
  t.ok(lines.isStuck())
  await t.rejects(lines.confirm('never\n', { withinMs: 50 }))
  lines.write('queued\n')
  delay.disable()
  t.ok(delay.percentile(50) / 1e6 < 100, 'most turns of the loop are short')

  // The late line is written after all, and corrected; the line that was dropped from the queue never is.
  let text = read()
  await until('what was queued', () => {
    text += read()
    return text.includes('queued')
  })
  await until('what follows a late line', () => {
    text += read()
    return text.includes('late')
  })
  t.equal(text.trimStart(), 'first\nqueued\nlate\n')
  t.notOk(lines.isStuck())
  await lines.confirm('again\n')
})

t.test('fault 45: a reader that has gone is noticed at once', { buffered: true }, async (t) => {
  const { lines, read, close } = await openFullPipe(t)
  read()
  await lines.confirm('line\n')
  close()
  await t.rejects(lines.confirm('line\n'), { code: 'EPIPE' })
})

t.test('fault 45: log lines that a full pipe does not take are dropped beyond a bound, and counted', {
  buffered: true
}, async (t) => {
  const { lines } = await openFullPipe(t)
  for (let i = 0; i < 10_100; i++) lines.write('line\n')
  t.ok(lines.lost() >= 99 && lines.lost() <= 101, String(lines.lost()))
})

t.test('fault 45: half a line that was left is ended before the next one', { buffered: true }, async (t) => {
  const path = join(t.testdir({ 'audit.log': 'half' }), 'audit.log')
  const lines = await open(t, path)
  await lines.confirm('whole\n')
  t.equal(readFileSync(path, 'utf8'), 'half\nwhole\n')
})

t.test('fault 45: a file that was moved away is opened again within two seconds, and no line is lost', {
  buffered: true
}, async (t) => {
  const { path, lines, text } = await openInFolder(t)
  await lines.confirm('before\n')
  renameSync(path, `${path}.1`)
  await lines.confirm('between\n')
  let sent = 'before\nbetween\n'
  await until('a line in the new file', async () => {
    sent += 'after\n'
    await lines.confirm('after\n')
    return existsSync(path) && text() !== ''
  }, 2500)
  t.equal(readFileSync(`${path}.1`, 'utf8') + text(), sent)
})

t.test('fault 45: a file that was replaced by another one is left for it', { buffered: true }, async (t) => {
  const { path, lines, text } = await openInFolder(t)
  renameSync(path, `${path}.1`)
  closeSync(openSync(path, 'w'))
  const { ino } = statSync(path)
  await until('a line in the new file', async () => {
    await lines.confirm('line\n')
    return text() !== ''
  }, 2500)
  t.equal(statSync(path).ino, ino)
})

t.test('fault 45: a file that is moved away under load loses no line', { buffered: true }, async (t) => {
  const { path, lines, text } = await openInFolder(t)
  let [sent, isMoved] = [0, false]
  await until('lines in the new file', async () => {
    await Promise.all(Array.from({ length: 50 }, () => lines.confirm(`${sent++}\n`)))
    if (!isMoved) renameSync(path, `${path}.1`)
    isMoved = true
    return existsSync(path) && text().length > 1000
  })
  const numbers = (readFileSync(`${path}.1`, 'utf8') + text()).trimEnd().split('\n').map(Number)
  t.same(numbers, Array.from({ length: sent }, (_, i) => i))
})

t.test('fault 45: a file is opened again at once on request', { buffered: true }, async (t) => {
  const { path, lines, text } = await openInFolder(t)
  renameSync(path, `${path}.1`)
  await lines.reopen()
  await lines.confirm('line\n')
  t.equal(text(), 'line\n')
})

t.test('fault 45: requests to open it again that come at once leave one descriptor, and fail none', {
  buffered: true
}, async (t) => {
  const { path, lines, text } = await openInFolder(t)
  await Promise.all(Array.from({ length: 50 }, () => lines.reopen()))
  await until('the others to be closed', () => descriptorsOf(path) === 1)
  await lines.confirm('line\n')
  t.equal(text(), 'line\n')
})

t.test('fault 45: a path that cannot be opened again is reported, and lines go to the moved file meanwhile', {
  buffered: true
}, async (t) => {
  const path = join(t.testdir({}), 'audit.log')
  const faults: Error[] = []
  const lines = await openLines(path, (error) => faults.push(error))
  t.teardown(lines.close)
  for (const times of [1, 2]) {
    renameSync(path, `${path}.${times}`)
    mkdirSync(path)
    await until('the report', () => faults.length === times)
    await lines.confirm(`${times}\n`)
    t.equal(readFileSync(`${path}.${times}`, 'utf8'), `${times}\n`)
    rmdirSync(path)
    await until('the path to be opened again', () => existsSync(path))
  }
  t.match(faults, [{ code: 'EISDIR' }, { code: 'EISDIR' }], 'once for each time')
})

function descriptorsOf (path: string): number {
  return readdirSync('/proc/self/fd').filter((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`) === path
    } catch {
      return false
    }
  }).length
}

t.test('fault 45: a file that was deleted with its folder is not written to until there is a folder again', {
  buffered: true
}, async (t) => {
  const folder = join(t.testdir({}), 'logs')
  mkdirSync(folder)
  const path = join(folder, 'audit.log')
  const lines = await open(t, path)
  rmSync(folder, { recursive: true })
  await until('nothing to be confirmed', () => lines.isStuck(), 2500)
  mkdirSync(folder)
  await until('the file to be back', () => !lines.isStuck(), 2500)
  await lines.confirm('line\n')
  t.equal(readFileSync(path, 'utf8'), 'line\n')
})

t.test('fault 45: the queue is written before the file closes', { buffered: true }, async (t) => {
  const { lines, text } = await openInFolder(t)
  for (let i = 0; i < 1000; i++) lines.write(`${i}\n`)
  await lines.close()
  t.equal(text().split('\n').length, 1001)
})

t.test('fault 45: the queue is written at once if the process is about to end', {
  buffered: true
}, async (t) => {
  const { lines, text } = await openInFolder(t)
  lines.write('first\n')
  lines.write('second\n')
  lines.flushNow()
  await until('the first', () => text().includes('first'))
  t.match(text(), 'second')
})

t.test('fault 45: lines that do not fit into one write go into the next', async (t) => {
  const path = `${t.testdir({})}/lines`
  const lines = await openLines(path)
  const long = `${'x'.repeat(70_000)}\n`
  await Promise.all([lines.confirm(long), lines.confirm(long), lines.confirm('short\n')])
  t.equal(readFileSync(path, 'utf8'), `${long}${long}short\n`)
  await lines.close()
})
