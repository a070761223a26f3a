import { setTimeout as wait } from 'node:timers/promises'

/** Polls until `look` returns a value other than null, undefined and false. Throws `what` if that takes too long. */
export async function until<T> (what: string, look: () => T | Promise<T>, withinMs = 30_000): Promise<NonNullable<T>> {
  const endsAt = performance.now() + withinMs
  for (;;) {
    const found = await look()
    if (found !== null && found !== undefined && found !== false) return found as NonNullable<T>
    if (performance.now() > endsAt) throw new Error(`waited ${withinMs} ms in vain: ${what}`)
    await wait(20)
  }
}
