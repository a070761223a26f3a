// The events that one side of a call gets, kept until they are asked for.

import type { JsonObject } from '../../json.ts'

type Wanted = (event: JsonObject) => boolean

export type Inbox = Readonly<{
  /** Skips anything but objects. */
  put: (event: JsonObject | undefined) => void
  /** The first that is wanted, of those that came and those to come; null where none comes in time. */
  next: (isWanted: Wanted, withinMs: number) => Promise<JsonObject | null>
  clear: () => void
}>

export function openInbox (): Inbox {
  let kept: JsonObject[] = []
  let look = () => {}
  return {
    put: (event) => {
      if (event !== undefined) kept.push(event)
      look()
    },
    next: (isWanted, withinMs) => new Promise((resolve) => {
      const settle = (found: JsonObject | null) => {
        clearTimeout(timer)
        look = () => {}
        kept = kept.filter((event) => event !== found)
        resolve(found)
      }
      const timer = setTimeout(settle, withinMs, null)
      look = () => {
        const found = kept.find(isWanted)
        if (found !== undefined) settle(found)
      }
      look()
    }),
    clear: () => { kept = [] }
  }
}
