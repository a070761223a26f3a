// Bounds the lines that anyone can cause by being refused: ten a second of each kind, then one line with a count.

const LINES_PER_SECOND = 10

export type Flood<Kind extends string> = Readonly<{
  /** False for a line that is only counted. */
  admits: (kind: Kind) => boolean
  /** Writes the counts of the current second. */
  close: () => void
}>

/** `writeCount` is called once a second for each kind with lines that were not admitted. */
export function createFlood<Kind extends string> (writeCount: (kind: Kind, count: number) => void): Flood<Kind> {
  let counts = new Map<Kind, number>()
  const timer = setInterval(writeCounts, 1000).unref()

  function writeCounts (): void {
    const ended = counts
    counts = new Map()
    for (const [kind, count] of ended) if (count > LINES_PER_SECOND) writeCount(kind, count - LINES_PER_SECOND)
  }

  return {
    admits: (kind) => {
      const count = (counts.get(kind) ?? 0) + 1
      counts.set(kind, count)
      return count <= LINES_PER_SECOND
    },
    close: () => {
      clearInterval(timer)
      writeCounts()
    }
  }
}
