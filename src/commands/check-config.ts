// npm run check-config -- FILE: every problem of a policy file at once; exits 1 where there is one.

import { parseArgs } from 'node:util'
import { createKeySets } from '../callers/jwks.ts'
import { policyEnvironment } from '../config.ts'
import { readPolicyFile, readRulebook } from '../rulebook.ts'
import { run, silentLog, UsageError } from './command.ts'

await run(async () => {
  const { positionals: [file, ...more] } = parseArgs({ allowPositionals: true })
  if (file === undefined || more.length > 0) throw new UsageError('npm run check-config -- FILE')

  const { problems, warnings } = readRulebook(readPolicyFile(file), {
    ...policyEnvironment(process.env, file),
    log: silentLog,
    keySets: createKeySets({ log: silentLog })
  })
  for (const { path, problem } of warnings) console.log(`warning  ${path} ${problem}`)
  for (const { path, problem } of problems) console.log(`problem  ${path} ${problem}`)
  if (problems.length === 0) console.log(`${file} is in order`)
  return problems.length === 0 ? 0 : 1
})
