import { readFileSync } from 'node:fs'
import { Ajv2020 } from 'ajv/dist/2020.js'
import t from 'tap'
import { parse } from 'yaml'
import { isObject, type Json } from '../../src/json.ts'
import { PolicyFile } from '../../src/policy/schema.ts'
import { editorSchema } from '../../src/rulebook/editor-schema.ts'

const root = new URL('../..', import.meta.url)
const read = (path: string) => readFileSync(new URL(path, root), 'utf8')
const schema = editorSchema()
const [accepts, acceptsFile] = [schema, PolicyFile].map((one) =>
  new Ajv2020({ strict: false }).compile(one)) as [ReturnType<Ajv2020['compile']>, ReturnType<Ajv2020['compile']>]

t.test('the editor schema is valid in strict mode', async (t) => {
  const ajv = new Ajv2020({ strict: true, strictTypes: false, strictRequired: false, allowMatchingProperties: true })
  t.ok(ajv.validateSchema(schema))
  t.doesNotThrow(() => ajv.compile(schema))
})

t.test('the example refers to the editor schema and satisfies it', async (t) => {
  t.match(read('ephemint.example.yaml'), /^# yaml-language-server: \$schema=\.\/deploy\/ephemint\.schema\.json$/m)
  for (const path of ['ephemint.example.yaml', 'src/sandbox/ephemint.yaml']) {
    t.ok(accepts(parse(read(path), { merge: true })), path)
  }
})

t.test('the editor schema accepts and refuses the same files as the service', async (t) => {
  const policy = { name: 'p', when: 'any', limits: 'none', realtime: {} }
  const file = (changes: object, others: object = {}) =>
    ({ callers: [{ guest: {} }], policies: [{ ...policy, ...changes }], ...others })
  const rows: [isValid: boolean, file: unknown][] = [
    [true, file({})],
    [true, file({
      realtime: {
        allow: { 'audio.output.voice': true, 'of.the.future': true },
        ignore: ['temperature', 'of.the.future'],
        hide: ['x']
      }
    })],
    [true, file({ realtime: { fixed: { model: '{{model}}', audio: 'x', tools: { $env: 'X' } } } })],
    [true, file({}, { blocked: [{ issuer: 'i', subject: 's' }] })],
    [false, file({}, { blocked: [{ issuer: 'i' }] })],
    [false, file({ when: {} })],
    [false, file({ realtime: { allow: {} } })],
    [false, file({ realtime: { hide: ['a..b'] } })],
    [false, file({ realtime: { nonsense: 1 } })],
    [false, { policies: [policy] }]
  ]
  for (const [isValid, value] of rows) {
    t.equal(acceptsFile(value), isValid, JSON.stringify(value))
    t.equal(accepts(value), isValid)
  }
})

t.test('every key of the policy file has a description', async (t) => {
  const walk = (node: Json, at: string): string[] => {
    if (!isObject(node)) return []
    const members = isObject(node.properties as Json)
      ? Object.entries(node.properties as object) as [string, Json][]
      : []
    const inner = [
      ...members.map(([, member]) => member), node.items, ...Object.values((node.patternProperties ?? {}) as object),
      ...(node.anyOf ?? []) as Json[]
    ] as Json[]
    return [
      ...members.filter(([, member]) => isObject(member) && member.description === undefined).map(
        ([name]) => `${at}.${name}`
      ),
      ...inner.flatMap((member, i) => walk(member, `${at}.${members[i]?.[0] ?? '*'}`))
    ]
  }
  t.same(walk(JSON.parse(JSON.stringify(PolicyFile)), ''), [])
})

t.test('the editor schema lists session parameters for completion', async (t) => {
  const policies = (schema as any).properties.policies.items.properties
  t.ok(policies.realtime.properties.allow.properties['audio.input.turn_detection.eagerness'])
  t.ok(policies.realtime.properties.fixed.properties.audio.properties.output.properties.voice)
  t.match(policies.transcription.properties.hide.items.anyOf[0].enum, ['audio'])
  t.notOk(policies.translation.properties.allow.properties.instructions)
})
