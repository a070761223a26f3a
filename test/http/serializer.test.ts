import fc from 'fast-check'
import t from 'tap'
import Type from 'typebox'
import { projector } from '../../src/http/serializer.ts'

t.test('a member that the schema does not name is left out', async (t) => {
  const project = projector(Type.Object({ id: Type.String(), inner: Type.Optional(Type.Object({ n: Type.Number() })) }))
  t.strictSame(project({ id: 'a', secret: 1, inner: { n: 1, secret: 2 } }), { id: 'a', inner: { n: 1 } })
  t.strictSame(project(JSON.parse('{"__proto__": {"secret": 1}, "toString": 1}')), {})
})

t.test('an object or array where the schema has none is left out', async (t) => {
  const project = projector(Type.Object({ id: Type.String(), tags: Type.Array(Type.String()) }))
  t.strictSame(project({ id: { secret: 1 }, tags: ['a', { secret: 1 }, ['b'], 'c'] }), { tags: ['a', 'c'] })
  t.strictSame(project({ id: [1], tags: { secret: 1 } }), {})
  t.equal(projector(Type.String())({}), undefined)
  t.equal(
    projector({ allOf: [Type.Object({ a: Type.String() })] })({ a: 'a' }),
    undefined,
    'unknown keywords let nothing through'
  )
})

t.test('a scalar passes as it is, whatever its type', async (t) => {
  const project = projector(Type.Object({ id: Type.String(), inner: Type.Object({}) }))
  t.strictSame(project({ id: 7, inner: null }), { id: 7, inner: null })
  t.strictSame(project({ inner: {} }), { inner: {} })
  t.equal(project('text'), 'text')
})

t.test('a union keeps the members of all its variants', async (t) => {
  const project = projector(Type.Union([
    Type.Object({ type: Type.Literal('a'), of: Type.Object({ x: Type.Number() }) }),
    Type.Union([Type.Object({ type: Type.Literal('b'), of: Type.Object({ y: Type.Number() }) }), Type.Null()]),
    Type.Array(Type.String())
  ]))
  t.strictSame(project({ type: 'a', of: { x: 1, y: 2, z: 3 } }), { type: 'a', of: { x: 1, y: 2 } })
  t.strictSame(project(['a']), ['a'])
  t.equal(project(null), null)
})

t.test('free-form values pass whole, records by their values', async (t) => {
  const free = { any: [{ thing: 1 }] }
  const schema = Type.Object({
    free: Type.Unknown({ description: 'anything' }),
    record: Type.Record(Type.String(), Type.Object({ n: Type.Number() }))
  })
  t.strictSame(projector(schema)({ free, record: { k: { n: 1, m: 2 } } }), { free, record: { k: { n: 1 } } })
})

t.test('the names in what is shown are names of the schema, for any JSON, which stays as it is', async () => {
  const names = ['a', 'b', 'c']
  const project = projector(Type.Object({
    a: Type.Array(Type.Object({ b: Type.String() })),
    b: Type.Union([Type.Null(), Type.Object({ c: Type.Integer() })]),
    c: Type.String()
  }))
  const key = fc.oneof(fc.constantFrom(...names), fc.string())
  const { json } = fc.letrec((tie) => ({
    json: fc.oneof(
      { maxDepth: 4 }, fc.jsonValue({ maxDepth: 1 }), fc.array(tie('json')), fc.dictionary(key, tie('json'))
    )
  }))
  const namesIn = (value: unknown): string[] => typeof value !== 'object' || value === null
    ? []
    : Array.isArray(value)
      ? value.flatMap(namesIn)
      : Object.entries(value).flatMap(([name, inner]) => [name, ...namesIn(inner)])
  fc.assert(fc.property(json, (value) => {
    const before = JSON.stringify(value)
    return namesIn(project(value)).every((name) => names.includes(name)) && JSON.stringify(value) === before
  }))
})
