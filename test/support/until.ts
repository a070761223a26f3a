import { setTimeout as wait } from 'node:timers/promises'

/** The pause between two looks is a twentieth of the time so far, within these bounds. */
const PAUSE_MS = { least: 10, most: 100 }

/** Polls until `look` returns a value other than null, undefined and false. Throws `what` if that takes too long. */
export async function until<T> (what: string, look: () => T | Promise<T>, withinMs = 30_000): Promise<NonNullable<T>> {
  const startedAt = performance.now()
  for (;;) {
    const found = await look()
    if (found !== null && found !== undefined && found !== false) return found as NonNullable<T>
    const waitedMs = performance.now() - startedAt
    if (waitedMs > withinMs) throw new Error(`waited ${withinMs} ms in vain: ${what}`)
    await wait(Math.min(PAUSE_MS.most, Math.max(PAUSE_MS.least, waitedMs / 20)))
  }
}
