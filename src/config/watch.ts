// Watching a file's text. The text is compared, not the inode: Kubernetes swaps a symlink, editors rename, and other
// tools write in several steps.

import { constants } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { whyUnreadable } from './unreadable.ts'

const INTERVAL_MS = 500
/** A text that may be half written must stay the same for this many checks, even if it could be used. */
const CHECKS_IF_HALF = 6

export type WatchOptions = Readonly<{
  /** `why` says why there is no text. Must neither throw nor reject: no check would follow. */
  onText: (text: string | null, why: string) => unknown
  isUsable: (text: string) => boolean
}>

/**
 * Calls back with the new text once it is the same in two checks, and with null once the file cannot be read. Checks do
 * not overlap, nor run during the callback: a disk that hangs holds one read, and changes are reported in order.
 */
export function watchText (path: string, initial: string | null, { onText, isUsable }: WatchOptions): () => void {
  let seen = initial
  let reported = initial
  let timer = setTimeout(check, INTERVAL_MS).unref()
  let isStopped = false
  let unchangedChecks = 0

  async function check (): Promise<void> {
    const { text, why } = await readText(path)
    unchangedChecks = text === seen ? unchangedChecks + 1 : 0
    seen = text
    if (unchangedChecks > 0 && text !== reported && !isStopped &&
      (unchangedChecks >= CHECKS_IF_HALF || !isHalf(text, reported) || !isUsable(text))) {
      reported = text
      await onText(text, why)
    }
    if (!isStopped) timer = setTimeout(check, INTERVAL_MS).unref()
  }

  return () => {
    isStopped = true
    clearTimeout(timer)
  }
}

export type ReadText = Readonly<{ text: string | null, why: string }>

/** Null if the file cannot be read. Non-blocking, so that a named pipe without a writer does not hold a thread. */
export async function readText (path: string): Promise<ReadText> {
  return readFile(path, { encoding: 'utf8', flag: constants.O_RDONLY | constants.O_NONBLOCK }).then(
    (text) => ({ text, why: '' }), (error) => ({ text: null, why: whyUnreadable(error) })
  )
}

/** The text no longer ends with a newline, so its end may be yet to come. */
function isHalf (text: string | null, before: string | null): text is string {
  return text !== null && before !== null && before.endsWith('\n') && !text.endsWith('\n')
}
