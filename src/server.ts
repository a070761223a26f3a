// The process: V8 flags, signals, exit codes.

import { setImmediate as turn } from 'node:timers/promises'
import { setFlagsFromString } from 'node:v8'

// Before the rest is loaded, which takes half a second: process 1 of a container loses a signal without a handler.
/* c8 ignore next -- a stop during the start: test/faults/signals.test.ts */
const stopNow = () => process.exit(0)
process.on('SIGTERM', stopNow).on('SIGINT', stopNow)
// V8 learns at the start which objects live long, and then allocates such objects in the old generation. What a request
// leaves behind then stays until the next full collection, at a fifth of the processor and twice the memory.
setFlagsFromString('--no-allocation-site-pretenuring')
// A report that Node.js writes on a crash would hold the environment.
if (process.report !== undefined) process.report.excludeEnv = true
// Node's default for this signal is to open a debugger port.
process.on('SIGUSR1', () => {})
/* c8 ignore next -- a SIGHUP during the start: test/faults/signals.test.ts */
let reopenAudit = () => {}
process.on('SIGHUP', () => reopenAudit())

const { default: closeWithGrace } = await import('close-with-grace')
const { ConfigError, processEnv } = await import('./config/environment.ts')
const { EXIT_WITHIN_MS, openService } = await import('./service.ts')
// Signals are delivered between two turns of the event loop: one that came meanwhile stops the process here.
await turn()
await turn()
try {
  const service = await openService(processEnv)
  const { log, flushNow } = service
  reopenAudit = service.reopenAudit
  // Before it listens: clients that are answered while other parts still start are not cut off either.
  const whenForced = { onSecondSignal: flushNow, onSecondError: flushNow, onTimeout: flushNow }
  closeWithGrace({ delay: EXIT_WITHIN_MS, logger: false, skip: ['SIGHUP'], ...whenForced }, async ({ signal, err }) => {
    /* c8 ignore next -- a process that crashes: test/faults/crash.test.ts */
    if (err !== undefined) log.fatal({ err }, 'failed')
    log.info({ signal }, 'draining')
    await service.stop()
  })
  process.off('SIGTERM', stopNow).off('SIGINT', stopNow)
  await service.listen()
} catch (error) {
  // A configuration that cannot work is reported at once, by name and without values.
  /* c8 ignore next -- either kind of error: test/boot.test.ts */
  const problems = error instanceof ConfigError ? error.problems : [(error as Error).message]
  for (const problem of problems) process.stderr.write(`ephemint: ${problem}\n`)
  process.exit(1)
}
