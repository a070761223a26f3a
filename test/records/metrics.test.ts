import t from 'tap'
import { ApiError } from '../../src/errors.ts'
import type { Audit, AuditEntry } from '../../src/records/audit.ts'
import { createMetrics, type Sources } from '../../src/records/metrics.ts'

const ENTRY = { request_id: 'one', code: null, kind: 'realtime', policy: 'pro' } as AuditEntry
const FULL = new ApiError('audit_unavailable')

t.test('a grant whose line cannot be written counts as an audit failure, not as a grant', async (t) => {
  const metrics = createMetrics()
  const audit = metrics.audited(
    auditWith({ confirm: async () => { throw FULL }, assertWritable: () => { throw FULL } })
  )
  await t.rejects(audit.confirm('mint.granted', ENTRY), FULL)
  t.throws(() => audit.assertWritable(), FULL)
  const text = await metrics.text()
  t.match(text, 'ephemint_audit_failures_total 2')
  t.notMatch(text, 'ephemint_decisions_total{outcome="granted"')
  t.match(text, 'ephemint_mint_duration_seconds_count{part="own",outcome="granted"} 0')
})

t.test('decisions are counted by event, code, kind and policy, and still written', async (t) => {
  const written: string[] = []
  const metrics = createMetrics()
  const audit = metrics.audited(
    auditWith({ record: (event) => written.push(event), recordBounded: () => written.push('anonymous') })
  )
  audit.assertWritable()
  await audit.confirm('mint.granted', ENTRY)
  await audit.confirm('mint.granted', ENTRY)
  audit.record('mint.undelivered', ENTRY)
  audit.record('mint.refused', { ...ENTRY, code: 'rate_limit_exceeded' })
  audit.recordBounded('mint.refused', { ...ENTRY, code: 'invalid_credentials', kind: null, policy: null })
  audit.close()
  t.same(written, ['mint.undelivered', 'mint.refused', 'anonymous'])
  const text = await metrics.text()
  t.match(text, 'ephemint_decisions_total{outcome="granted",code="",kind="realtime",policy="pro"} 2')
  t.match(text, 'ephemint_decisions_total{outcome="undelivered",code="",kind="realtime",policy="pro"} 1')
  t.match(text, 'ephemint_decisions_total{outcome="refused",code="rate_limit_exceeded",kind="realtime",policy="pro"} 1')
  t.match(text, 'ephemint_decisions_total{outcome="refused",code="invalid_credentials",kind="",policy=""} 1')
})

t.test('the time of a mint is split into upstream\'s and our own', async (t) => {
  const metrics = createMetrics()
  metrics.timed({ outcome: 'granted', upstreamMs: 20, totalMs: 34 })
  metrics.timed({ outcome: 'failed', upstreamMs: 500, totalMs: 501 })
  metrics.timed({ outcome: 'refused', upstreamMs: null, totalMs: 3 })
  const text = await metrics.text()
  t.match(text, 'ephemint_mint_duration_seconds_sum{part="upstream",outcome="granted"} 0.02')
  t.match(text, 'ephemint_mint_duration_seconds_sum{part="own",outcome="granted"} 0.014')
  t.match(text, 'ephemint_mint_duration_seconds_sum{part="upstream",outcome="failed"} 0.5')
  t.match(text, 'ephemint_mint_duration_seconds_sum{part="own",outcome="refused"} 0.003')
  t.match(text, 'ephemint_mint_duration_seconds_count{part="upstream",outcome="refused"} 0')
})

t.test('the text is rendered once a second, however often it is asked for', async (t) => {
  let now = 0
  let looked = 0
  const metrics = createMetrics(() => now)
  metrics.readFrom({ ...SOURCES, isReady: () => ++looked > 0 })
  const texts = await Promise.all(Array.from({ length: 1000 }, metrics.text))
  t.equal(new Set(texts).size, 1)
  t.equal(looked, 1)
  now += 1000
  metrics.attempted('200')
  metrics.retried()
  const text = await metrics.text()
  t.equal(looked, 2)
  t.match(text, 'ephemint_upstream_requests_total{outcome="200"} 1')
  t.match(text, 'ephemint_upstream_retries_total 1')
})

t.test('values of other parts are read when rendered, and rendering does not raise a total', async (t) => {
  let now = 0
  const metrics = createMetrics(() => now)
  metrics.readFrom(SOURCES)
  for (let i = 0; i < 2; i++, now += 1000) {
    const text = await metrics.text()
    const lines = [
      'ephemint_build_info{version="1.2.3",revision="abc"} 1', 'ephemint_policy_info{hash="f00"} 1',
      'ephemint_upstream_concurrency 256', 'ephemint_ready 1', 'ephemint_in_flight 3',
      'ephemint_upstream_breaker_open 1', 'ephemint_policy_generation 2',
      'ephemint_policy_failed_reloads_total 4', 'ephemint_policy_refused 1',
      'ephemint_limits_store_up 0', 'ephemint_limits_degraded 1',
      'ephemint_limits_local_total 5', 'ephemint_limits_not_given_back_total 6', 'ephemint_limits_data_losses_total 7',
      'ephemint_jwks_age_seconds{issuer="https://one/"} 1.5', 'ephemint_jwks_age_seconds{issuer="https://two/"} +Inf',
      'ephemint_lines_lost_total{to="stdout"} 8', 'nodejs_eventloop_lag_p99_seconds', 'process_resident_memory_bytes'
    ]
    for (const line of lines) t.match(text, line)
  }
})

const SOURCES: Sources = {
  isReady: () => true,
  build: { version: '1.2.3', revision: 'abc' },
  upstream: () => ({ inFlight: 3, isBreakerOpen: true, concurrency: 256 }),
  keyAges: () => [{ issuer: 'https://one/', ageMs: 1500 }, { issuer: 'https://two/', ageMs: Infinity }],
  policy: () => ({ generation: 2, failedReloads: 4, isRefused: true, hash: 'f00' }),
  limits: () => ({ isUp: false, isAlone: true, local: 5, notGivenBack: 6, dataLosses: 7 }),
  linesLost: () => ({ stdout: 8 })
}

function auditWith (does: Partial<Audit>): Audit {
  return {
    assertWritable: () => {},
    confirm: async () => {},
    record: () => {},
    conclude: async () => {},
    change: () => {},
    recordBounded: () => {},
    close: () => {},
    ...does
  }
}
