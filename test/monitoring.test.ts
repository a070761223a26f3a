// The dashboard and the alerts, against a Prometheus that scrapes a service which has minted, refused and held calls.

import { execFileSync, spawn } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { parse } from 'yaml'
import { createSigner } from './callers/forge.ts'
import { OPS, startCalls } from './calls/harness.ts'
import { brokenLinks, section, tableRows } from './docs/pages.ts'
import { POLICY } from './support/app.ts'
import { answers, startHostileIssuer } from './support/hostile-issuer.ts'
import { endWith, freePort, makeFolder } from './support/processes.ts'
import { program } from './support/programs.ts'
import { startService, tokenOf } from './support/service.ts'
import { until } from './support/until.ts'
import { startUpstream } from './support/upstream.ts'

const DEPLOY = join(import.meta.dirname, '../deploy')
const ALERTS = join(DEPLOY, 'prometheus/alerts.yaml')
const [PROMETHEUS, PROMTOOL] = [program(['prometheus'], 'prometheus'), program(['promtool'], 'prometheus')]

type Target = Readonly<{ refId: string, expr: string }>
type Panel = Readonly<{
  id: number, title: string, targets: readonly Target[], gridPos: Record<'x' | 'y' | 'w' | 'h', number>
}>
type Rule = Readonly<{
  alert: string, expr: string, labels: { severity: string }, annotations: { summary: string, runbook_url: string }
}>
const DASHBOARD = join(DEPLOY, 'grafana/ephemint.json')
const dashboard = JSON.parse(readFileSync(DASHBOARD, 'utf8')) as { panels: readonly Panel[] }
const rules = (parse(readFileSync(ALERTS, 'utf8')).groups as { rules: Rule[] }[]).flatMap(({ rules }) => rules)

t.test('operate: every query of the dashboard finds what a running service reports', {
  skip: PROMETHEUS.skip
}, async (t) => {
  const app = await startCalls(t, { env: OPS })
  const { headers } = await app.begin()
  await app.hangUp(headers.get('location') as string)
  await app.wrote('call.ended')
  const live = (await app.begin()).headers.get('location') as string
  const keys = await startHostileIssuer(t, answers({ keys: [createSigner('RS256').jwk] }))
  const issuer = `{ issuer: https://auth.example.com/, audience: app, jwks: ${keys.url}/keys }`
  const service = await startService(t, {
    upstreamUrl: (await startUpstream(t)).url,
    policy: POLICY.replace('callers:', `callers:\n  - jwt: ${issuer}`),
    env: OPS
  })
  t.equal((await service.mint({ headers: { authorization: `Bearer ${await tokenOf()}` } })).status, 200)
  t.equal((await service.mint({ headers: { authorization: 'Bearer x' } })).status, 401)
  const hosts = [app.logLines(), service.log].map((lines) => {
    const url = lines.find(({ msg }) => msg === 'listening')?.ops_url as string
    return new URL(url).host
  })
  const { query, stop } = await startPrometheus(t, hosts)
  await until('two scrapes of each', async () => {
    const counts = await query('count_over_time(ephemint_ready[1m])')
    return counts.length === 2 && counts.every(({ value }) => Number(value[1]) >= 2)
  })

  for (const { title, targets } of dashboard.panels) {
    for (const { expr } of targets) {
      const asked = expr.replaceAll('$job', 'ephemint').replaceAll('$__rate_interval', '1m')
      const found = await query(asked)
      t.ok(found.length > 0, `${title}: ${expr}`)
    }
  }
  for (const { alert, expr } of rules) t.ok(Array.isArray(await query(expr)), alert)
  t.same(await query('up{job=~"(.*/)?ephemint"} == 0'), [])
  // Stopped before the services, which would wait for its connections.
  await stop()
  await app.hangUp(live)
})

t.test('operate: panels do not overlap, and no two are alike', async (t) => {
  const { panels } = dashboard
  t.equal(new Set(panels.map(({ id }) => id)).size, panels.length)
  t.equal(new Set(panels.map(({ title }) => title)).size, panels.length)
  const cells = panels.flatMap(({ gridPos: { x, y, w, h } }) => {
    t.ok(x + w <= 24)
    return Array.from({ length: w * h }, (_, i) => `${x + i % w},${y + Math.floor(i / w)}`)
  })
  t.equal(new Set(cells).size, cells.length)
  for (const { targets } of panels) {
    for (const { expr } of targets) t.match(expr, '{job="$job"', 'one job at a time')
  }
})

t.test('operate: every alert has a severity, a summary and a runbook that says what to do', async (t) => {
  for (const { alert, labels: { severity }, annotations: { summary, runbook_url: runbook } } of rules) {
    t.match(severity, /^(page|ticket)$/, alert)
    t.match(summary, /\w{3}/, alert)
    t.equal(runbook, 'docs/operating.md#alerts', alert)
  }
  t.same(brokenLinks('docs/operating.md'), [])
  const described = tableRows(section('docs/operating.md', 'Alerts')).map(([name, , severity]) => [name, severity])
  t.same(described, rules.map(({ alert, labels: { severity } }) => [`\`${alert}\``, severity]))
})

t.test('operate: promtool takes the alerts, and they fire when they should', { skip: PROMTOOL.skip }, async (t) => {
  const folder = makeFolder(t)
  const fires = (alert: string, at: string, series: Record<string, string>, labels: Record<string, string> = {}) => ({
    interval: '15s',
    input_series: Object.entries(series).map(([name, values]) => ({ series: name, values })),
    alert_rule_test: [{
      eval_time: at,
      alertname: alert,
      exp_alerts: [{
        exp_labels: { severity: severityOf(alert), ...labels },
        exp_annotations: annotationsOf(alert, labels, lastOf(Object.values(series)[0] as string))
      }]
    }, { eval_time: '30s', alertname: alert, exp_alerts: [] }]
  })
  const silent = (alert: string, at: string, series: Record<string, string>) => {
    const firing = fires(alert, at, series)
    return { ...firing, alert_rule_test: firing.alert_rule_test.map((test) => ({ ...test, exp_alerts: [] })) }
  }
  const instance = 'one:9090'
  const decided = (outcome: string, code: string) =>
    of('ephemint_decisions_total', `,outcome="${outcome}",code="${code}",kind="realtime",policy="pro"`)
  const of = (name: string, more = '') => `${name}{job="ephemint",instance="${instance}"${more}}`
  const tests = [
    fires('EphemintDown', '3m', { [of('up')]: '1 1 1 0x20' }, { instance, job: 'ephemint' }),
    fires('EphemintNearFull', '5m', {
      [of('ephemint_in_flight')]: '1 1 1 250x30', [of('ephemint_upstream_concurrency')]: '256x33'
    }, { instance }),
    fires('EphemintLinesLost', '5m', {
      [of('ephemint_lines_lost_total', ',to="stdout"')]: '0 0 0 5x30'
    }, { instance, to: 'stdout' }),
    fires('EphemintNotReady', '10m', { [of('ephemint_ready')]: '1 1 1 0x60' }, { instance }),
    fires('EphemintLimitsLost', '5m', { [of('ephemint_limits_store_up')]: '1 1 1 0x60' }),
    fires('EphemintPolicyRefused', '5h', { [of('ephemint_policy_refused')]: '0 0 0 1x1500' }, { instance }),
    fires('EphemintGone', '10m', { [of('up')]: '1 1 1 _x60' }),
    // Only calls: each of them fails, or one in a thousand.
    fires('EphemintMintsFail', '10m', { [decided('call.refused', 'upstream_error')]: '0 0 0 0+10x60' }),
    silent('EphemintMintsFail', '10m', {
      [decided('call.refused', 'upstream_error')]: '0+1x60',
      [decided('call.started', '')]: '0+1000x60',
      [decided('granted', '')]: '0+1x60'
    }),
    // Refusals by the policy or by a fault of the client do not hide failures, whatever their number.
    fires('EphemintMintsFail', '10m', {
      [decided('refused', 'upstream_timeout')]: '0 0 0 0+10x60',
      [decided('refused', 'unsupported_media_type')]: '0 0 0 0+9999x60'
    })
  ]
  writeFileSync(join(folder, 'test.json'), JSON.stringify({ rule_files: [ALERTS], evaluation_interval: '15s', tests }))
  for (const args of [['check', 'rules', ALERTS], ['test', 'rules', join(folder, 'test.json')]]) {
    t.match(execFileSync(PROMTOOL.path(), args, { encoding: 'utf8' }), 'SUCCESS')
  }
})

const ruleOf = (alert: string) => rules.find((rule) => rule.alert === alert) as Rule
const severityOf = (alert: string) => ruleOf(alert).labels.severity
const lastOf = (values: string) => /(\d+)(?:x\d+)?$/.exec(values)?.[1] as string

function annotationsOf (alert: string, labels: Record<string, string>, value: string): Rule['annotations'] {
  const { annotations } = ruleOf(alert)
  const summary = annotations.summary.replace(/\{\{ \$labels\.(\w+) \}\}/g, (_, name: string) => labels[name] ?? '')
    .replace('{{ $value }}', value).replace('{{ $value | humanizePercentage }}', '100%')
  return { ...annotations, summary }
}

/** Starts a Prometheus that scrapes `targets` four times a second. */
async function startPrometheus (t: Test, targets: readonly string[]) {
  const folder = makeFolder(t)
  const port = await freePort()
  const file = join(folder, 'prometheus.yaml')
  const every = { scrape_interval: '250ms', scrape_timeout: '250ms' }
  const scrape = { job_name: 'ephemint', ...every, static_configs: [{ targets }] }
  writeFileSync(file, JSON.stringify({ scrape_configs: [scrape] }))
  const child = spawn(PROMETHEUS.path(), [
    `--config.file=${file}`, `--storage.tsdb.path=${folder}/data`, `--web.listen-address=127.0.0.1:${port}`
  ], { stdio: 'ignore' })
  const exited = endWith(t, child)
  const query = async (expr: string): Promise<{ value: [number, string] }[]> => {
    const response = await fetch(`http://127.0.0.1:${port}/api/v1/query?query=${encodeURIComponent(expr)}`)
    const { status, data, error } = await response.json() as any
    if (status !== 'success') throw new Error(`${expr}: ${error}`)
    return data.result
  }
  const hasScraped = () => query('up == 1').then((found) => found.length > 0, () => false)
  await until('Prometheus to have scraped', hasScraped, 30_000)
  return {
    query,
    stop: async () => {
      child.kill('SIGKILL')
      await exited
    }
  }
}
