// npm run identify -- ISSUER SUBJECT: prints a person's safety identifier (upstream, audit lines, Redis).
// npm run identify -- ISSUER --find IDENTIFIER < SUBJECTS: prints the line whose identifier it is.

import { createInterface } from 'node:readline'
import { parseArgs } from 'node:util'
import { safetyIdentifier } from '../callers/safety-identifier.ts'
import { processEnv, readSafetyIdentifierSecret } from '../config/environment.ts'
import { run, UsageError } from './command.ts'

await run(async () => {
  const { positionals: [issuer, subject, ...more], values: { find } } = parseArgs(
    { allowPositionals: true, options: { find: { type: 'string' } } }
  )
  if (issuer === undefined || (subject === undefined) === (find === undefined) || more.length > 0) {
    throw new UsageError('npm run identify -- ISSUER SUBJECT, or ISSUER --find IDENTIFIER < SUBJECTS')
  }
  // In capitals too, as other tools print hex.
  const wanted = find?.trim().toLowerCase()
  if (wanted !== undefined && !/^[0-9a-f]{64}$/.test(wanted)) {
    throw new UsageError('--find needs a safety identifier: 64 hexadecimal digits')
  }
  const secret = readSafetyIdentifierSecret(processEnv)
  if (secret === null) console.error('SAFETY_IDENTIFIER_SECRET is not set: this is the plain hash')
  if (subject !== undefined) {
    console.log(safetyIdentifier(issuer, subject, secret))
    return 0
  }
  for await (const line of createInterface({ input: process.stdin })) {
    // Spreadsheets begin a file with a byte order mark.
    const subject = line.replace(/^\ufeff/, '')
    if (safetyIdentifier(issuer, subject, secret) !== wanted) continue
    console.log(subject)
    return 0
  }
  console.error('none of these subjects has this identifier')
  return 1
})
