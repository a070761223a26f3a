// The level of the log follows a file, so that it can be changed while the process runs.

import { watchText } from '../config/watch.ts'
import type { Log } from './log.ts'

/** A file without a level leaves the last one in use. */
export function followLevel (path: string, levels: readonly string[], log: Log): () => void {
  const levelIn = (text: string) => levels.find((level) => level === text.trim())
  return watchText(path, `${log.level}\n`, {
    isUsable: (text) => levelIn(text) !== undefined,
    onText: (text, why) => {
      const level = text === null ? undefined : levelIn(text)
      if (level === undefined) {
        const problem = text === null ? `cannot be read: ${why}` : `is none of ${levels.join(', ')}`
        return log.error({ problem }, 'LOG_LEVEL_FILE has no level: the old one stays')
      }
      // At the more verbose of both levels: an operator who turns the log down sees that it worked.
      if (!log.isLevelEnabled('info')) log.level = level
      log.info({ log_level: level }, 'LOG_LEVEL_FILE was read')
      log.level = level
    }
  })
}
