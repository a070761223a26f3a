// Secrets from environment variables, or from files that a variable or the policy file names.

import { readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { whyUnreadable } from './unreadable.ts'

export type Environment = Readonly<Record<string, string | undefined>>

/** Without white space around the value. Both throw an Error whose message names the source and never the value. */
export type SecretSource = Readonly<{
  env: (name: string) => string
  file: (path: string) => string
}>

/** Secrets of a policy file; paths are relative to `folder`, the one it is in. */
export function secretSource (env: Environment, folder: string): SecretSource {
  return {
    env: (name) => {
      const value = env[name]?.trim() ?? ''
      if (value === '') throw new Error(`names ${name}, which is not set in the environment`)
      return value
    },
    file: (path) => {
      const value = readSecretFile(resolve(folder, path)).trim()
      if (value === '') throw new Error('names a file that is empty')
      return value
    }
  }
}

/** The secret in NAME, or in the file that NAME_FILE names; null if neither is set. */
export function readSecret (env: Environment, name: string, problems: string[]): string | null {
  const [value, file] = [env[name]?.trim() || null, env[`${name}_FILE`] || null]
  if (value !== null && file !== null) problems.push(`${name} and ${name}_FILE are both set: set one of them`)
  if (file === null) return value
  try {
    return secretSource(env, '').file(file)
  } catch (error) {
    problems.push(`${name}_FILE ${(error as Error).message}`)
    return null
  }
}

function readSecretFile (path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch (error) {
    throw new Error(`names a file that cannot be read: ${whyUnreadable(error)}`)
  }
}
