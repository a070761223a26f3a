// Schemas that are accepted without the meta-schema are valid by the meta-schema too.

import assert from 'node:assert/strict'
import { Ajv2020 } from 'ajv/dist/2020.js'
import fc from 'fast-check'
import t from 'tap'
import { isPlain } from '../../src/policy/allowed-schema.ts'
import { times } from '../support/times.ts'

const ajv = new Ajv2020({ strict: true })
const keyword = fc.constantFrom(
  'type', 'enum', 'const', 'description', 'pattern', 'minimum', 'maximum', 'exclusiveMinimum', 'exclusiveMaximum',
  'minLength', 'maxLength', 'items', '$id'
)
const value = fc.oneof(
  fc.constantFrom('string', 'number', 'integer', 'boolean', 'null', 'object', 'text', true, null, NaN, Infinity, -1, 0),
  fc.array(fc.string(), { maxLength: 2 }), fc.double(), fc.nat(), fc.object()
)

t.test('a schema that is plain is one for the meta-schema', async (t) => {
  let plain = 0
  fc.assert(fc.property(fc.dictionary(keyword, value, { maxKeys: 3 }), (schema) => {
    if (!isPlain(schema)) return
    plain++
    assert.ok(ajv.validateSchema(schema), JSON.stringify(schema))
  }), { numRuns: times(3000) })
  t.ok(plain > times(100), `${plain} of them`)
  t.ok(isPlain({ type: 'string', enum: ['marin', 'cedar'], description: 'a voice' }))
  t.ok(isPlain({ type: 'number', minimum: 0.75, maximum: 1.25 }))
  for (const other of [true, [], { type: 'array' }, { minLength: '1' }, { allOf: [] }, { __proto__: null, x: 1 }]) {
    t.notOk(isPlain(other))
  }
})
