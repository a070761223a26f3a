import type { Test } from 'tap'
import { buildOps } from '../../src/ops.ts'
import { createLogger } from '../../src/records/log.ts'
import { createMetrics } from '../../src/records/metrics.ts'
import { keepLines } from './lines.ts'

/** Serves the reference as the listener for operations does. Resolves to its origin. */
export async function serveReference (t: Test): Promise<string> {
  const ops = await buildOps({ log: createLogger('info', keepLines()), metrics: createMetrics(), waitingFor: () => [] })
  t.teardown(() => ops.close())
  return ops.listen({ port: 0, host: '127.0.0.1' })
}
