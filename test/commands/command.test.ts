import t from 'tap'
import { run, silentLog, UsageError } from '../../src/commands/command.ts'
import { ConfigError } from '../../src/config/environment.ts'

t.test('an unexpected error is thrown, not reported as a mistake of the user', async (t) => {
  await t.rejects(run(async () => { throw new TypeError('ours') }), { message: 'ours' })
})

t.test('an expected error is a message and an exit code', async (t) => {
  const before = process.exitCode
  t.teardown(() => { process.exitCode = before })
  const printed = t.capture(console, 'error')
  for (const [error, code] of [[new UsageError('npm run x'), 2], [new ConfigError(['a', 'b']), 1]] as const) {
    await run(async () => { throw error })
    t.equal(process.exitCode, code)
  }
  await run(async () => 0)
  t.equal(process.exitCode, 0)
  t.same(printed().map(({ args }) => args), [['usage: npm run x'], ['a\nb']])
  silentLog.info()
})
