// npm run schema: writes the policy file's JSON Schema for editors, to the path that ephemint.example.yaml refers to.

import { writeFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { ConfigError } from '../config/environment.ts'
import { editorSchema } from '../rulebook/editor-schema.ts'
import { run, UsageError } from './command.ts'

await run(async () => {
  const { positionals: [file = 'deploy/ephemint.schema.json', ...more] } = parseArgs({ allowPositionals: true })
  if (more.length > 0) throw new UsageError('npm run schema [-- FILE]')
  try {
    writeFileSync(file, `${JSON.stringify(editorSchema(), null, 2)}\n`)
  } catch {
    throw new ConfigError([`${file} cannot be written`])
  }
  console.log(`${file} is written`)
  return 0
})
