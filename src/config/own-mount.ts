// Files that are mounted by themselves: a container keeps such a file where an editor replaces it, and never sees the
// new one.

import { readFileSync, realpathSync } from 'node:fs'

export const OWN_MOUNT = 'is mounted by itself: the old one stays where an editor replaces it. Mount its folder instead'

/** Those of `paths` that are mount points; none where the system does not say what is mounted. */
export function ownMounts (paths: readonly string[]): string[] {
  try {
    const points = new Set(readFileSync('/proc/self/mountinfo', 'latin1').split('\n').map(pointIn))
    return paths.filter((path) => points.has(realpathSync(path)))
  } catch {
    return []
  }
}

/** The fifth field (proc_pid_mountinfo(5)): space, tab, line end and backslash are octal, the rest is UTF-8. */
function pointIn (line: string): string {
  const bytes = String(line.split(' ')[4]).replace(/\\([0-7]{3})/g, (_whole, octal) =>
    String.fromCharCode(parseInt(octal, 8)))
  return Buffer.from(bytes, 'latin1').toString()
}
