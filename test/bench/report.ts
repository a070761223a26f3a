// Medians with minimum and maximum, the ratios that docs/speed.md quotes, and the bars.

export type Sample = Readonly<{
  name: string
  /** CPU time of the contender's process per mint. */
  cpuMicros?: number
  mintsPerCore?: number
  mintsPerSecond?: number
  p50?: number
  p99?: number
  rssBytes?: number
  /** Share of one core: near 1 the load generator was the limit. */
  loadCpuShare?: number
}>

export type Bar = Readonly<{ text: string, value: number, atMost: number, met: boolean }>
export type Report = Readonly<{
  title: string, rows: readonly (readonly string[])[], notes: readonly string[], bars: readonly Bar[]
}>

type Column = Exclude<keyof Sample, 'name'>
const COLUMNS: readonly [Column, string, (value: number) => string][] = [
  ['cpuMicros', 'CPU µs a mint', (value) => value.toFixed(0)],
  ['mintsPerCore', 'mints/s one core', (value) => value.toFixed(0)],
  ['mintsPerSecond', 'mints/s here', (value) => value.toFixed(0)],
  ['p50', 'p50 ms', (value) => value.toFixed(1)],
  ['p99', 'p99 ms', (value) => value.toFixed(1)],
  ['rssBytes', 'resident MiB', (value) => (value / 2 ** 20).toFixed(0)],
  ['loadCpuShare', 'generator\'s core', (value) => `${(100 * value).toFixed(0)} %`]
]

export function bar (text: string, value: number, atMost: number): Bar {
  return { text, value, atMost, met: value <= atMost }
}

export function median (values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  const half = Math.floor(sorted.length / 2)
  return sorted.length % 2 === 1
    ? sorted[half] as number
    : ((sorted[half - 1] as number) + (sorted[half] as number)) / 2
}

export function summarize (
  samples: readonly Sample[],
  { cores, rounds, quick, notes }: { cores: number, rounds: number, quick: boolean, notes: readonly string[] }
): Report {
  const names = [...new Set(samples.map(({ name }) => name))]
  const of = (name: string, column: Column) =>
    samples.filter((sample) => sample.name === name).flatMap((sample) => sample[column] ?? [])
  const cpu = (name: string) => median(of(name, 'cpuMicros'))
  const cell = (name: string, [column, , format]: typeof COLUMNS[number]) => {
    const values = of(name, column)
    return values.length === 0
      ? ''
      : `${format(median(values))} (${format(Math.min(...values))}–${format(Math.max(...values))})`
  }
  // A quick run, perhaps on a busy machine, fails only for large deviations.
  const slack = quick ? 2 : 1
  const busiest = Math.max(...names.flatMap((name) => of(name, 'loadCpuShare')))
  return {
    title: `${rounds} rounds, ${cores} cores, Node.js ${process.version}: median (minimum–maximum)`,
    rows: [
      ['', ...COLUMNS.map(([, head]) => head)],
      ...names.map((name) => [name, ...COLUMNS.map((column) => cell(name, column))])
    ],
    notes: [
      ...notes,
      ...names.filter((name) => name.startsWith('ephemint')).map((name) => {
        const [ofFloor, ofConsole] = ['floor', 'console'].map((peer) => (cpu(name) / cpu(peer)).toFixed(2))
        return `${name}: ${ofFloor} times the CPU of floor, ${ofConsole} of console`
      }),
      ...(busiest > 0.9
        ? [`The load generator used ${(100 * busiest).toFixed(0)} % of a core: mints/s here may be its limit.`]
        : [])
    ],
    bars: [
      bar('ephemint : floor, CPU', cpu('ephemint') / cpu('floor'), 1.9 * slack),
      bar('ephemint : console, CPU', cpu('ephemint') / cpu('console'), 0.5 * slack),
      bar('ephemint, all tokens new : floor, CPU', cpu('ephemint, all tokens new') / cpu('floor'), 3.2 * slack),
      // Not in a quick run: delays depend on the load of the machine.
      ...(quick
        ? []
        : [
            bar(
              'added delay at the median, ms', median(of('ephemint', 'p50')) - median(of('upstream itself', 'p50')), 1
            ),
            bar('added delay at p99, ms', median(of('ephemint', 'p99')) - median(of('upstream itself', 'p99')), 5),
            ...(names.includes('ephemint, Redis')
              ? [bar(
                  'Redis\'s own delay at the median, ms',
                  median(of('ephemint, Redis', 'p50')) - median(of('ephemint', 'p50')),
                  1
                )]
              : [])
          ])
    ]
  }
}

export function printReport ({ title, rows, notes, bars }: Report): void {
  const widths = (rows[0] ?? []).map((_, i) => Math.max(...rows.map((row) => (row[i] ?? '').length)))
  console.log(`\n${title}\n`)
  for (const [i, row] of rows.entries()) {
    console.log(`| ${row.map((cell, j) => cell.padEnd(widths[j] ?? 0)).join(' | ')} |`)
    if (i === 0) console.log(`|${widths.map((width) => '-'.repeat(width + 2)).join('|')}|`)
  }
  for (const note of notes) console.log(`\n${note}`)
  console.log('')
  for (const { text, value, atMost, met } of bars) {
    console.log(`${met ? 'met   ' : 'MISSED'} ${text}: ${value.toFixed(2)} (at most ${atMost})`)
  }
}
