// Sends spans by OTLP over HTTP, past any proxy. What cannot be sent is dropped, and the log says so once.

import { ExportResultCode } from '@opentelemetry/core'
import type { SpanExporter } from '@opentelemetry/sdk-trace'
import type { TracingSettings } from '../config/tracing.ts'
import type { PlainLog } from '../records/log.ts'

export async function openExporter (settings: TracingSettings, log: PlainLog): Promise<SpanExporter> {
  const { url, headers, timeoutMs, compression, tls } = settings
  const { OTLPTraceExporter } = settings.protocol === 'http/json'
    ? await import('@opentelemetry/exporter-trace-otlp-http')
    : await import('@opentelemetry/exporter-trace-otlp-proto')
  const exporter = new OTLPTraceExporter({
    url: url.href,
    headers: { ...headers },
    timeoutMillis: timeoutMs,
    compression: compression as never,
    httpAgentOptions: { keepAlive: true, ...tls }
  })
  let isFailing = false
  return {
    export: (spans, done) => exporter.export(spans, (result) => {
      const hasFailed = result.code !== ExportResultCode.SUCCESS
      // Its message may quote what the collector answered.
      if (hasFailed && !isFailing) log.warn({ reason: reasonOf(result.error) }, 'spans cannot be sent')
      if (!hasFailed && isFailing) log.info({}, 'spans are sent again')
      isFailing = hasFailed
      done(result)
    }),
    shutdown: () => exporter.shutdown()
  }
}

/** The status of an answer, or the error's code. */
function reasonOf (error: Error | undefined): string {
  const { code } = { ...error } as { code?: unknown }
  /* c8 ignore next -- what an exporter of another version may throw */
  return typeof code === 'number' || typeof code === 'string' ? String(code).toLowerCase() : 'unavailable'
}
