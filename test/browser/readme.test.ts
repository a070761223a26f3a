// The README's browser code is what the tests run, to the letter.

import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'

const EXAMPLES = join(import.meta.dirname, 'examples')
const README = readFileSync(join(import.meta.dirname, '../../README.md'), 'utf8')

for (const name of readdirSync(EXAMPLES)) {
  t.test(`the README shows ${name} as it is`, async (t) => {
    t.ok(README.includes(`\`\`\`js\n${readFileSync(join(EXAMPLES, name), 'utf8')}\`\`\``))
  })
}
