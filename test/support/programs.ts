// Programs of the distribution that tests start. Where one is missing the test says so and is skipped; in CI nothing is.

import { accessSync, constants } from 'node:fs'
import { delimiter, join } from 'node:path'

export type Program = Readonly<{
  /** Where it is. Throws, saying how to install it, where it is not. */
  path: () => string
  /** For tap: why a test cannot run here; false where it can. */
  skip: string | false
}>

/** The first of `names` that is installed, by `packages` of Debian. */
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
