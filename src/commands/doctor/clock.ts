// Whether this machine's clock agrees with those that it is told. Tokens are judged by it.

import { type Finding, note, ok, wrong } from './finding.ts'

/** As many seconds as tokens are allowed to be off by default. */
const TOLERANCE_SECONDS = 30

export type Clocks = Readonly<{
  /** A Date header of `who`, of an answer that was asked for at `askedAtMs` and has just come. */
  hear: (who: string, date: string | undefined, askedAtMs: number) => void
  findings: () => Finding[]
}>

export function compareClocks (now: () => number = Date.now): Clocks {
  const ahead = new Map<string, number>()
  return {
    hear: (who, date, askedAtMs) => {
      // Told in whole seconds, and some time between the question and the answer.
      const seconds = ((askedAtMs + now()) / 2 - Date.parse(date ?? '') - 500) / 1000
      if (Number.isFinite(seconds)) ahead.set(who, Math.round(seconds))
    },
    findings: () => {
      if (ahead.size === 0) {
        return [note('clock', 'nobody who answered said what time it is', 'compare it by hand: date -u')]
      }
      const off = [...ahead].filter(([, seconds]) => Math.abs(seconds) > TOLERANCE_SECONDS)
      if (off.length === 0) return [ok('clock', `agrees with ${[...ahead.keys()].join(', ')}`)]
      const advice = off.length === ahead.size
        ? 'set the clock of this machine, and keep it so by NTP: tokens and secrets are judged by it'
        : 'one of the clocks is wrong: set it, and keep it so by NTP'
      return off.map(([who, seconds]) =>
        wrong('clock', `this machine is ${Math.abs(seconds)} s ${seconds > 0 ? 'ahead of' : 'behind'} ${who}`, advice))
    }
  }
}
