// Numbers that a seed decides.

export type Random = Readonly<{
  /** Whole, both included. */
  between: (least: number, most: number) => number
  isIn: (percent: number) => boolean
  of: <T>(values: readonly T[]) => T
}>

/** Mulberry32. */
export function createRandom (seed: number): Random {
  let state = seed >>> 0
  const next = () => {
    state = (state + 0x6D2B79F5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
  const between = (least: number, most: number) => least + Math.floor(next() * (most - least + 1))
  return {
    between,
    isIn: (percent) => next() * 100 < percent,
    of: (values) => values[between(0, values.length - 1)] as (typeof values)[number]
  }
}
