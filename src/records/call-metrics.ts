// Metrics of calls. Labels are reasons, which are constants, and policies, which are configuration.

import { Counter, Gauge, Histogram, type Registry } from 'prom-client'

type Modalities = Readonly<Record<string, number>>

/** Duration and usage of a call. */
export type EndedCall = Readonly<{
  policy: string
  reason: string
  seconds: number
  usage: Readonly<{ input: Modalities, output: Modalities }>
}>

/** Read when the metrics are rendered. */
export type CallSources = Readonly<{
  /** By policy. */
  live: () => ReadonlyMap<string, number>
  hangUpsPending: () => number
}>

export type CallMetrics = Readonly<{
  /** Called for each call that was answered. */
  setUp: (tookMs: number) => void
  ended: (call: EndedCall) => void
  reopened: () => void
  adopted: () => void
  /** `did` is a constant. */
  changed: (did: string, policy: string) => void
  readFrom: (sources: CallSources) => void
}>

const SETUP_SECONDS = [0.1, 0.25, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10, 20, 30]

export function createCallMetrics (registers: Registry[]): CallMetrics {
  const setup = new Histogram({
    name: 'ephemint_call_setup_seconds',
    help: 'Answered calls: from the request to the answer, with the time that upstream took.',
    buckets: SETUP_SECONDS,
    registers
  })
  const ended = new Counter({
    name: 'ephemint_calls_ended_total',
    help: 'Calls that ended, by reason and policy.',
    labelNames: ['reason', 'policy'],
    registers
  })
  const seconds = new Counter({
    name: 'ephemint_call_seconds_total', help: 'Seconds that calls lasted.', labelNames: ['policy'], registers
  })
  const tokens = new Counter({
    name: 'ephemint_call_tokens_total',
    help: 'Tokens of the responses in calls.',
    labelNames: ['direction', 'modality', 'policy'],
    registers
  })
  const changed = new Counter({
    name: 'ephemint_call_changes_total',
    help: 'What clients changed although the policy does not allow it, by what was done about it.',
    labelNames: ['did', 'policy'],
    registers
  })
  const reopened = new Counter({
    name: 'ephemint_sidebands_reopened_total', help: 'Sidebands that were lost and opened again.', registers
  })
  const adopted = new Counter({
    name: 'ephemint_calls_adopted_total', help: 'Calls taken over from replicas that stopped or died.', registers
  })

  return {
    setUp: (tookMs) => setup.observe(tookMs / 1000),
    ended: ({ policy, reason, seconds: lasted, usage }) => {
      ended.inc({ reason, policy })
      seconds.inc({ policy }, lasted)
      for (const direction of ['input', 'output'] as const) {
        for (const [modality, count] of Object.entries(usage[direction])) {
          tokens.inc({ direction, modality, policy }, count)
        }
      }
    },
    reopened: () => reopened.inc(),
    adopted: () => adopted.inc(),
    changed: (did, policy) => changed.inc({ did, policy }),
    readFrom: ({ live, hangUpsPending }) => {
      const calls: Gauge = new Gauge({
        name: 'ephemint_calls_live',
        help: 'Calls that were answered and have not ended.',
        labelNames: ['policy'],
        registers,
        collect: () => {
          calls.reset()
          for (const [policy, count] of live()) calls.set({ policy }, count)
        }
      })
      const pending: Gauge = new Gauge({
        name: 'ephemint_call_hangups_pending',
        help: 'Calls that are being hung up.',
        registers,
        collect: () => pending.set(hangUpsPending())
      })
    }
  }
}
