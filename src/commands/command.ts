// Shared by the commands: error messages without a stack, and exit codes.

import { ConfigError } from '../config/environment.ts'

export class UsageError extends Error {}

const ignore = () => {}
export const silentLog = { info: ignore, warn: ignore, error: ignore, debug: ignore }

/** Runs a command that resolves to its exit code. Expected errors are printed as messages; others are thrown. */
export async function run (command: () => Promise<number>): Promise<void> {
  try {
    process.exitCode = await command()
  } catch (error) {
    const usage = error instanceof UsageError || (error as NodeJS.ErrnoException).code?.startsWith('ERR_PARSE_ARGS')
    if (!usage && !(error instanceof ConfigError)) throw error
    console.error(`${usage ? 'usage: ' : ''}${(error as Error).message}`)
    process.exitCode = usage ? 2 : 1
  }
}
