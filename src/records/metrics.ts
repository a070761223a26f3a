// Metrics for Prometheus. No label has a value that a caller chooses: outcomes, codes and kinds are constants, policies
// and issuers are configuration.

import { collectDefaultMetrics, Counter, type CounterConfiguration, Gauge, Histogram, Registry } from 'prom-client'
import type { Audit, AuditEntry, AuditEvent } from './audit.ts'
import { type CallMetrics, createCallMetrics } from './call-metrics.ts'

export const METRICS_TYPE = Registry.PROMETHEUS_CONTENT_TYPE

/** Rendering takes milliseconds in which mints wait: it happens once a second, however often the text is asked for. */
const KEPT_MS = 1000
/** `failed`: by the service or upstream, with a 5xx. */
const OUTCOMES = ['granted', 'refused', 'failed'] as const
type MintOutcome = typeof OUTCOMES[number]
const SECONDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10]

/** Read when the metrics are rendered. */
export type Sources = Readonly<{
  isReady: () => boolean
  build: Readonly<{ version: string, revision: string | null }>
  /** `concurrency` is the bound of `inFlight`. */
  upstream: () => Readonly<{ inFlight: number, isBreakerOpen: boolean, concurrency: number }>
  /** Infinity until the keys have been fetched. */
  keyAges: () => readonly Readonly<{ issuer: string, ageMs: number }>[]
  policy: () => Readonly<{ generation: number, failedReloads: number, isRefused: boolean, hash: string }>
  /** `isAlone`: this replica counts alone what all replicas should count together. */
  limits: () => Readonly<{ isUp: boolean, isAlone: boolean, local: number, notGivenBack: number, dataLosses: number }>
  /** By destination. */
  linesLost: () => Readonly<Record<string, number>>
}>

export type Metrics = Readonly<{
  /** Wraps an audit trail so that its events are counted. */
  audited: (audit: Audit) => Audit
  /** Called for each request for a mint, once it is decided. `upstreamMs` is null where upstream was not asked. */
  timed: (took: Readonly<{ outcome: MintOutcome, upstreamMs: number | null, totalMs: number }>) => void
  calls: CallMetrics
  attempted: (outcome: string) => void
  retried: () => void
  readFrom: (sources: Sources) => void
  text: () => Promise<string>
}>

/** `now` is monotonic, in milliseconds. */
export function createMetrics (now: () => number = () => performance.now()): Metrics {
  const registry = new Registry()
  const registers = [registry]
  collectDefaultMetrics({ register: registry })
  const duration = new Histogram({
    name: 'ephemint_mint_duration_seconds',
    help: 'Requests for a mint: the time upstream took, where it was asked, and our own.',
    labelNames: ['part', 'outcome'],
    buckets: SECONDS,
    registers
  })
  for (const part of ['own', 'upstream']) for (const outcome of OUTCOMES) duration.zero({ part, outcome })
  const partsOf = (outcome: MintOutcome) =>
    ({ own: duration.labels('own', outcome), upstream: duration.labels('upstream', outcome) })
  const durations = { granted: partsOf('granted'), refused: partsOf('refused'), failed: partsOf('failed') }
  const retries = new Counter({ name: 'ephemint_upstream_retries_total', help: 'Second attempts.', registers })
  const auditFailures = new Counter({
    name: 'ephemint_audit_failures_total',
    help: 'Mints and calls refused because their audit line could not be written.',
    registers
  })

  const decided = tally({
    name: 'ephemint_decisions_total',
    help: 'Decisions by audit event, error code, kind of session and policy.',
    labelNames: ['outcome', 'code', 'kind', 'policy'],
    registers
  })
  const attempted = tally({
    name: 'ephemint_upstream_requests_total',
    help: 'Attempts to mint or create a call, by upstream status or the reason for none.',
    labelNames: ['outcome'],
    registers
  })
  const count = (event: AuditEvent, { code, kind, policy }: AuditEntry) =>
    decided(event.replace('mint.', ''), code ?? '', kind ?? '', policy ?? '')

  let kept: { text: Promise<string>, until: number } | undefined

  return {
    audited: (audit) => ({
      assertWritable: () => {
        try {
          audit.assertWritable()
        } catch (error) {
          auditFailures.inc()
          throw error
        }
      },
      confirm: async (event, entry, confirming) => {
        try {
          await audit.confirm(event, entry, confirming)
        } catch (error) {
          auditFailures.inc()
          throw error
        }
        count(event, entry)
      },
      record: (event, entry) => {
        count(event, entry)
        audit.record(event, entry)
      },
      conclude: audit.conclude,
      change: audit.change,
      recordBounded: (event, entry) => {
        count(event, entry)
        audit.recordBounded(event, entry)
      },
      close: audit.close
    }),
    timed: ({ outcome, upstreamMs, totalMs }) => {
      const { own, upstream } = durations[outcome]
      own.observe((totalMs - (upstreamMs ?? 0)) / 1000)
      if (upstreamMs !== null) upstream.observe(upstreamMs / 1000)
    },
    calls: createCallMetrics(registers),
    attempted,
    retried: () => retries.inc(),
    readFrom: (sources) => registerSources(registers, sources),
    text: () => {
      if (kept === undefined || kept.until <= now()) kept = { text: registry.metrics(), until: now() + KEPT_MS }
      return kept.text
    }
  }
}

/** Counts by label values. The library's counter is set when rendered: its lookup costs as much as an audit line. */
function tally (configuration: CounterConfiguration<string>): (...values: string[]) => void {
  const counts = new Map<string, { values: string[], count: number }>()
  const counter: Counter = new Counter({
    ...configuration,
    collect: () => {
      counter.reset()
      for (const { values, count } of counts.values()) counter.labels(...values).inc(count)
    }
  })
  return (...values) => {
    const key = values.join('\n')
    const found = counts.get(key)
    if (found === undefined) counts.set(key, { values, count: 1 })
    else found.count++
  }
}

function registerSources (
  registers: Registry[], { isReady, build, upstream, keyAges, policy, limits, linesLost }: Sources
): void {
  const gauge = (name: string, help: string, read: () => number | boolean): void => {
    const metric: Gauge = new Gauge({ name, help, registers, collect: () => metric.set(Number(read())) })
  }
  const counter = (name: string, help: string, read: () => number): void => {
    const metric: Counter = new Counter({
      name,
      help,
      registers,
      collect: () => {
        metric.reset()
        metric.inc(read())
      }
    })
  }
  const info = (name: string, help: string, labels: () => Readonly<Record<string, string>>): void => {
    const metric: Gauge = new Gauge({
      name,
      help,
      labelNames: Object.keys(labels()),
      registers,
      collect: () => {
        metric.reset()
        metric.set(labels(), 1)
      }
    })
  }
  const { version, revision } = build
  info('ephemint_build_info', 'What runs here.', () => ({ version, revision: revision ?? '' }))
  info('ephemint_policy_info', 'SHA-256 of the policy file in use.', () => ({ hash: policy().hash }))
  gauge('ephemint_ready', '1 while /readyz answers 200.', isReady)
  gauge('ephemint_in_flight', 'Mints and creations of calls in flight to upstream.', () => upstream().inFlight)
  gauge('ephemint_upstream_concurrency', 'The most of them in flight to upstream.', () => upstream().concurrency)
  gauge('ephemint_upstream_breaker_open', '1 while upstream gets only probes.', () => upstream().isBreakerOpen)
  gauge(
    'ephemint_policy_generation',
    'How often a policy file was loaded, the start included.',
    () => policy().generation
  )
  counter(
    'ephemint_policy_failed_reloads_total',
    'Changes of the policy file that were refused.',
    () => policy().failedReloads
  )
  gauge('ephemint_policy_refused', '1 while the policy file is refused, an older one in use.', () => policy().isRefused)
  gauge('ephemint_limits_store_up', '1 while the store of the limits answers.', () => limits().isUp)
  gauge('ephemint_limits_degraded', '1 while Redis is lost and this replica counts alone.', () => limits().isAlone)
  counter('ephemint_limits_local_total', 'Limits decided by this replica alone.', () => limits().local)
  counter(
    'ephemint_limits_not_given_back_total',
    'Mints, calls and their seconds that stay counted because Redis was lost.',
    () => limits().notGivenBack
  )
  counter(
    'ephemint_limits_data_losses_total',
    'How often Redis was found to have lost its windows.',
    () => limits().dataLosses
  )

  const age: Gauge = new Gauge({
    name: 'ephemint_jwks_age_seconds',
    help: 'Since the keys of an issuer were fetched; +Inf before.',
    labelNames: ['issuer'],
    registers,
    collect: () => {
      age.reset()
      for (const { issuer, ageMs } of keyAges()) age.set({ issuer }, ageMs / 1000)
    }
  })
  const lost: Counter = new Counter({
    name: 'ephemint_lines_lost_total',
    help: 'Lines that were dropped because their destination did not keep up.',
    labelNames: ['to'],
    registers,
    collect: () => {
      lost.reset()
      for (const [to, count] of Object.entries(linesLost())) lost.inc({ to }, count)
    }
  })
}
