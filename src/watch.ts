import { readFile } from 'node:fs/promises'

const INTERVAL_MS = 500

/**
 * Calls back with a file's new text once it has changed and stood still, and with null once it can no longer be read.
 * The text is compared, not the inode: Kubernetes swaps a symlink, editors rename, and others write in two steps.
 */
export function watchText (path: string, initial: string, onText: (text: string | null) => void): () => void {
  let seen: string | null = initial
  let told: string | null = initial
  const timer = setInterval(async () => {
    const text = await readFile(path, 'utf8').catch(() => null)
    const settled = text === seen
    seen = text
    if (!settled || text === told) return
    told = text
    onText(text)
  }, INTERVAL_MS).unref()
  return () => clearInterval(timer)
}
