// npm run identify -- ISSUER SUBJECT: prints a person's safety identifier (upstream, audit lines, Redis).

import { parseArgs } from 'node:util'
import { safetyIdentifier } from '../callers/safety-identifier.ts'
import { processEnv, readSafetyIdentifierSecret } from '../config/environment.ts'
import { run, UsageError } from './command.ts'

await run(async () => {
  const { positionals: [issuer, subject, ...more] } = parseArgs({ allowPositionals: true })
  if (issuer === undefined || subject === undefined || more.length > 0) {
    throw new UsageError('npm run identify -- ISSUER SUBJECT')
  }
  const secret = readSafetyIdentifierSecret(processEnv)
  if (secret === null) console.error('SAFETY_IDENTIFIER_SECRET is not set: this is the plain hash')
  console.log(safetyIdentifier(issuer, subject, secret))
  return 0
})
