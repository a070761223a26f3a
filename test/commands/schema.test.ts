import { readFileSync } from 'node:fs'
import t from 'tap'
import { callCommand, runCommand } from '../support/command.ts'

t.test('the schema in the repository is up to date', async (t) => {
  const dir = t.testdir({})
  const { code, out } = await runCommand('schema', [`${dir}/schema.json`])
  t.equal(code, 0)
  t.match(out, 'is written')
  t.equal(
    readFileSync(`${dir}/schema.json`, 'utf8'),
    readFileSync(new URL('../../deploy/ephemint.schema.json', import.meta.url), 'utf8')
  )
})

t.test('a file that cannot be written is reported', async (t) => {
  const { code, err } = await callCommand('schema', ['/nowhere/schema.json'])
  t.equal(code, 1)
  t.equal(err, '/nowhere/schema.json cannot be written\n')
})

t.test('two files are an error', async (t) => {
  const { code, err } = await callCommand('schema', ['a', 'b'])
  t.equal(code, 2)
  t.match(err, /^usage: npm run schema/)
})
