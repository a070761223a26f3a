// The app, the fault proxy, and a healthy upstream behind it.

import type { Test } from 'tap'
import { type App, type AppOptions, startApp } from './app.ts'
import { type FaultProxy, startFaultProxy } from './fault-proxy.ts'
import { startUpstream, type Upstream } from './upstream.ts'

export type BehindProxy = Readonly<{ app: App, proxy: FaultProxy, upstream: Upstream }>

export async function startBehindProxy (t: Test, options: AppOptions = {}): Promise<BehindProxy> {
  const upstream = options.upstream ?? await startUpstream(t)
  const proxy = await startFaultProxy(t, { host: '127.0.0.1', port: Number(new URL(upstream.url).port) })
  const env = { OPENAI_BASE_URL: `http://${proxy.host}/v1`, ...options.env }
  return { app: await startApp(t, { ...options, upstream, env }), proxy, upstream }
}

/** Mints that the caller has left this minute, refunds included. */
export async function remainingOf (app: App): Promise<number> {
  const { body } = await app.request(
    '/v1/realtime/policy', { headers: { authorization: `Bearer ${await app.token()}` } }
  )
  return (body as { limits: { minute: { remaining: number } } }).limits.minute.remaining
}

/** The last decision in the audit trail. */
export function lastDecision (app: App) {
  const { event, code, reason } = app.auditLines().at(-1) ?? {}
  return { event, code, reason }
}
