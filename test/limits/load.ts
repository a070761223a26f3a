// Mints without pause while a test disturbs Redis.

import { setTimeout as pace } from 'node:timers/promises'
import type { ApiError } from '../../src/errors.ts'
import type { Bucket, LimitStore } from '../../src/limits/limits.ts'

const WORKERS = 8
const PACE_MS = 2

export type LimitsLoad = Readonly<{
  granted: () => number
  /** The reasons of mints that were neither granted nor refused. */
  reasons: () => readonly string[]
  /** Stops minting; resolves once the last mint was answered. */
  stop: () => Promise<void>
}>

export function startLimitsLoad (store: LimitStore, bucketsOf: (i: number) => readonly Bucket[]): LimitsLoad {
  const state = { isOver: false }
  let [asked, granted] = [0, 0]
  const reasons: string[] = []

  async function work (): Promise<void> {
    while (!state.isOver) {
      const take = await Promise.resolve(store.take(bucketsOf(asked++)))
        .catch(({ reason }: ApiError) => { reasons.push(String(reason)) })
      if (take?.taken) granted++
      await pace(PACE_MS)
    }
  }

  const workers = Array.from({ length: WORKERS }, work)
  return {
    granted: () => granted,
    reasons: () => reasons,
    stop: async () => {
      state.isOver = true
      await Promise.all(workers)
    }
  }
}

/** `counted` is the number of mints in the window; `taken`, how many of 60 at once are granted where 20 are left. */
export async function takeUpTo (store: LimitStore, { key }: Bucket): Promise<{ counted: number, taken: number }> {
  const many = 1_000_000
  const [window] = await store.peek([{ key, windows: { hour: many } }])
  const counted = many - (window?.remaining ?? many)
  const asked = Array.from({ length: 60 }, async () => store.take([{ key, windows: { hour: counted + 20 } }]))
  return { counted, taken: (await Promise.all(asked)).filter(({ taken }) => taken).length }
}
