// Compares this machine's clock with the Date headers of others: tokens are verified by it.

import { DEFAULT_TOLERANCE_SECONDS } from '../../callers/jwt-entry.ts'
import { type Finding, note, ok, wrong } from './finding.ts'

export type Clocks = Readonly<{
  /** Call when a response arrives: `date` is its Date header, `sentAtMs` the time of the request. */
  record: (host: string, date: string | undefined, sentAtMs: number) => void
  findings: () => Finding[]
}>

export function compareClocks (now: () => number = Date.now): Clocks {
  const ahead = new Map<string, number>()
  return {
    record: (host, date, sentAtMs) => {
      // The header was set between request and response, and has whole seconds.
      const seconds = ((sentAtMs + now()) / 2 - Date.parse(date ?? '') - 500) / 1000
      if (Number.isFinite(seconds)) ahead.set(host, Math.round(seconds))
    },
    findings: () => {
      if (ahead.size === 0) {
        return [note('clock', 'no response had a Date header', 'compare the clock by hand: date -u')]
      }
      const off = [...ahead].filter(([, seconds]) => Math.abs(seconds) > DEFAULT_TOLERANCE_SECONDS)
      if (off.length === 0) return [ok('clock', `agrees with ${[...ahead.keys()].join(', ')}`)]
      const advice = off.length === ahead.size
        ? 'set the clock of this machine, and run NTP: tokens and secrets are checked by it'
        : 'one of the clocks is wrong: set it, and run NTP'
      return off.map(([host, seconds]) =>
        wrong('clock', `this machine is ${Math.abs(seconds)} s ${seconds > 0 ? 'ahead of' : 'behind'} ${host}`, advice))
    }
  }
}
