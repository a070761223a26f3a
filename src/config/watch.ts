import { constants } from 'node:fs'
import { readFile } from 'node:fs/promises'

const INTERVAL_MS = 500
/** What could be used, but ends within a line as it did not before, is given this much longer to be written to its end. */
const LOOKS_AT_HALF = 6

export type Watching = Readonly<{ onText: (text: string | null) => unknown, isUsable: (text: string) => boolean }>

/**
 * Calls back with a file's new text once it has changed and stood still, and with null once it can no longer be read.
 * The text is compared, not the inode: Kubernetes swaps a symlink, editors rename, and others write in two steps.
 * One look at a time, and none while the callback works: a disk that hangs is asked once, and changes are taken in order.
 */
export function watchText (path: string, initial: string | null, { onText, isUsable }: Watching): () => void {
  let seen = initial
  let told = initial
  let timer = setTimeout(look, INTERVAL_MS).unref()
  let isStopped = false
  let looksAlike = 0

  async function look (): Promise<void> {
    const text = await readText(path)
    looksAlike = text === seen ? looksAlike + 1 : 0
    seen = text
    if (looksAlike > 0 && text !== told && !isStopped &&
      (looksAlike >= LOOKS_AT_HALF || !isHalf(text, told) || !isUsable(text))) {
      told = text
      await onText(text)
    }
    if (!isStopped) timer = setTimeout(look, INTERVAL_MS).unref()
  }

  return () => {
    isStopped = true
    clearTimeout(timer)
  }
}

/** Null where it cannot be read. Of a named pipe that nobody writes that is at once, and not a thread that waits. */
export async function readText (path: string): Promise<string | null> {
  return readFile(path, { encoding: 'utf8', flag: constants.O_RDONLY | constants.O_NONBLOCK }).catch(() => null)
}

function isHalf (text: string | null, before: string | null): text is string {
  return text !== null && before !== null && before.endsWith('\n') && !text.endsWith('\n')
}
