// Why a file cannot be opened or read, in the system's words.

import { getSystemErrorMessage } from 'node:util'

/** `error` is one of node:fs. */
export function whyUnreadable (error: unknown): string {
  const { errno } = error as NodeJS.ErrnoException
  return errno === undefined ? 'it is no usable path' : getSystemErrorMessage(errno)
}
