import fc from 'fast-check'
import t from 'tap'
import {
  deepestPath, deepFreeze, getIn, isObject, type Json,
  type JsonObject,
  leafPaths, merge, omitIn, overlaps, setIn, withIn
} from '../src/json.ts'

const json = fc.jsonValue({ maxDepth: 4 }) as fc.Arbitrary<Json>
const object = fc.dictionary(fc.constantFrom('a', 'b', 'c', 'toString'), json) as fc.Arbitrary<JsonObject>
const path = fc.array(fc.constantFrom('a', 'b', 'c', 'toString'), { minLength: 1, maxLength: 3 })

t.test('inherited properties are not members', async (t) => {
  for (const name of ['toString', 'constructor', '__proto__', 'hasOwnProperty']) {
    t.equal(getIn({}, [name]), undefined)
    t.equal(getIn({ a: 'text' }, ['a', name]), undefined)
    t.strictSame(omitIn({ a: 1 }, [name]), { a: 1 })
    t.strictSame(Object.keys(withIn({}, [name, 'x'], 1)), [name])
    t.strictSame(getIn(withIn({}, [name, 'x'], 1), [name, 'x']), 1)
  }
  t.equal(getIn({ a: [1] }, ['a', '0']), undefined, 'arrays are values, not ways')
  t.equal(getIn([1], ['length']), undefined)
})

t.test('paths with names of the prototype lead nowhere', async (t) => {
  const hostile = JSON.parse('{"__proto__": {"polluted": 1}, "constructor": {"prototype": {"polluted": 1}}}')
  merge({}, hostile)
  merge(hostile, hostile)
  withIn({}, ['__proto__', 'polluted'], 1)
  setIn({}, ['__proto__', 'polluted'], 1)
  omitIn(hostile, ['__proto__', 'polluted'])
  t.equal(({} as JsonObject).polluted, undefined)
})

t.test('an object is a value with members, not an array or null', async (t) => {
  for (const value of [null, undefined, [], 'text', 7, true]) t.equal(isObject(value), false)
  t.equal(isObject({}), true)
})

t.test('setIn replaces a value that is not an object', async (t) => {
  const target: JsonObject = { a: 'text', list: [1] }
  setIn(target, ['a', 'b'], 1)
  setIn(target, ['list', '0'], 2)
  setIn(target, ['a', 'c', 'd'], null)
  t.strictSame(target, { a: { b: 1, c: { d: null } }, list: { 0: 2 } })
})

t.test('merging keeps the members of both objects and replaces other values', async (t) => {
  t.strictSame(merge({ a: { x: 1, y: [1, 2] }, b: null, c: 7 }, { a: { y: [3], z: {} }, b: { n: 1 }, c: null }),
    { a: { x: 1, y: [3], z: {} }, b: { n: 1 }, c: null })
})

t.test('leaf paths end at values without members', async (t) => {
  t.strictSame(leafPaths({ a: { b: null, c: [{ d: 1 }] }, e: {}, f: 1 }), [['a', 'b'], ['a', 'c'], ['e'], ['f']])
  t.strictSame(leafPaths({}), [])
  t.strictSame(deepestPath(['x'], { a: { b: 1 }, c: 2 }), ['x', 'a', 'b'])
  for (const value of [undefined, null, [], {}, 'text']) t.strictSame(deepestPath(['x'], value), ['x'])
})

t.test('omitted paths are removed, and missing paths are ignored', async (t) => {
  t.strictSame(omitIn({ a: { b: 1, c: 2 }, d: 3 }, ['a', 'b']), { a: { c: 2 }, d: 3 })
  t.strictSame(omitIn({ a: 1 }, ['a', 'b']), { a: 1 })
  t.strictSame(omitIn({ a: 1 }, []), { a: 1 })
})

t.test('paths overlap if one contains the other', async (t) => {
  for (const [a, b, expected] of [
    ['a.b', 'a.b.c', true], ['a.b.c', 'a', true], ['a', 'a', true], ['a.b', 'a.c', false], ['a', 'ab', false]
  ] as const) {
    t.equal(overlaps(a.split('.'), b.split('.')), expected, `${a} ${b}`)
    t.equal(overlaps(b.split('.'), a.split('.')), expected)
  }
})

t.test('a frozen value is frozen to its leaves', async (t) => {
  const value = deepFreeze({ a: [{ b: {} }] })
  t.ok(Object.isFrozen(value.a[0]?.b))
  t.equal(deepFreeze(null), null)
})

t.test('a written path can be read, an omitted one cannot, and other paths do not change', async () => {
  fc.assert(fc.property(object, path, json, (value, path, inner) => {
    const before = JSON.stringify(value)
    const written = withIn(value, path, inner)
    const without = omitIn(written, path)
    const others = leafPaths(value).filter((other) => !overlaps(other, path))
    return JSON.stringify(getIn(written, path)) === JSON.stringify(inner) && getIn(without, path) === undefined &&
      others.every(
        (other) => getIn(written, other) === getIn(value, other) && getIn(without, other) === getIn(value, other)
      ) &&
      JSON.stringify(value) === before
  }))
})
