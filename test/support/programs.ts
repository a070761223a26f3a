// System programs that tests start. A test whose program is missing is skipped with a reason, except in CI.

import { accessSync, constants } from 'node:fs'
import { delimiter, join } from 'node:path'

export type Program = Readonly<{
  /** The path of the program. Throws with installation advice if it is missing. */
  path: () => string
  /** The reason to skip a test, or false: tap's option `skip`. */
  skip: string | false
}>

/** The first of `names` that is installed; `packages` are Debian's. */
export function program (names: readonly string[], packages: string): Program {
  const folders = [...(process.env.PATH ?? '').split(delimiter), '/usr/sbin', '/usr/local/sbin', '/sbin']
  const found = names.flatMap((name) => folders.map((folder) => join(folder, name))).find(isExecutable)
  const missing = `${names.join(' or ')} is not installed: apt-get install ${packages}`
  return {
    path: () => {
      if (found === undefined) throw new Error(missing)
      return found
    },
    skip: found === undefined && process.env.CI !== 'true' ? missing : false
  }
}

function isExecutable (path: string): boolean {
  try {
    accessSync(path, constants.X_OK)
    return true
  } catch {
    return false
  }
}
