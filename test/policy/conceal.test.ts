// Secrets of a policy in a response: every string and name is searched, whatever upstream returns.

import fc from 'fast-check'
import t from 'tap'
import type { Json, JsonObject } from '../../src/json.ts'
import { compileConceal, type Step } from '../../src/policy/conceal.ts'
import { times } from '../support/times.ts'
import { fileWith, lines, readPolicy } from './harness.ts'

const SECRET = 'canary-7e2d4b6f'
const concealing = (path: Step[], value = SECRET) => {
  const conceal = compileConceal([{ path, value }])
  if (conceal === null) throw new Error('it conceals nothing')
  return conceal
}

t.test('edge M2: a policy without such a value has nothing to conceal', async (t) => {
  t.equal(compileConceal([]), null)
})

t.test('edge M2: no response shows a secret, as a name, inside a text or as a whole text', async () => {
  const text = fc.oneof(fc.string(), fc.string().map((around) => `${around}${SECRET}${around}`), fc.constant(SECRET))
  const { session } = fc.letrec<{ json: Json, session: JsonObject }>((tie) => ({
    json: fc.oneof(text, fc.constantFrom(null, 1, true), fc.array(tie('json'), { maxLength: 3 }), tie('session')),
    session: fc.dictionary(text, tie('json'), { maxKeys: 4, noNullPrototype: true })
  }))
  const conceal = concealing(['instructions'])
  fc.assert(fc.property(session, (session) => {
    const before = JSON.stringify(session)
    const shown = JSON.stringify(conceal(session))
    return !shown.includes(SECRET) && JSON.stringify(session) === before &&
      (before.includes(SECRET) || JSON.parse(before).instructions !== undefined || shown === before)
  }), { numRuns: times(200) })
})

t.test('edge M2: the path of a secret is left out, whatever its value in the response', async (t) => {
  const rows: [path: Step[], answered: Json, shown: Json][] = [
    [['instructions'], { instructions: 'x', model: 'm' }, { model: 'm' }],
    [['tracing', 'metadata'], { tracing: 'auto' }, { tracing: 'auto' }],
    [['tracing', 'metadata'], { tracing: { group_id: 'g', metadata: [1] } }, { tracing: { group_id: 'g' } }],
    [
      ['tools', null, 'server_url'], { tools: [{ type: 'function', id: 1 }, { server_url: 'x', type: 'mcp' }, 7] },
      { tools: [{ type: 'function', id: 1 }, { type: 'mcp' }, 7] }
    ],
    [['tools', null, 'server_url'], { tools: { server_url: 'x' } }, { tools: { server_url: 'x' } }],
    [
      ['tools', null, 'allowed_tools', null], { tools: [{ allowed_tools: ['a', 'b'], name: 'n' }] },
      { tools: [{ name: 'n' }] }
    ]
  ]
  for (const [path, answered, shown] of rows) {
    t.strictSame(concealing(path)(answered as JsonObject), shown, JSON.stringify(path))
  }
})

t.test('edge M2: a very short secret is left out only if it is the whole text', async (t) => {
  t.strictSame(concealing(['x'], 'en')({ a: 'en', b: 'token', en: 1, c: ['en', 'de'] }), { b: 'token', c: ['de'] })
})

t.test('edge M2: values too deep to be searched are not shown', async (t) => {
  const deep = JSON.parse(`${'['.repeat(100_000)}${']'.repeat(100_000)}`)
  t.ok(JSON.stringify(concealing(['x'])({ a: deep, b: 1 })).length < 200)
})

t.test('edge M2: at the start the paths that are left out are logged, each once', async (t) => {
  const env = { $env: 'KEY' }
  const { warnings, problems } = readPolicy(fileWith({
    session: {
      fixed: {
        model: 'gpt-realtime-2.1',
        tools: [{
          type: 'mcp',
          server_label: 'crm',
          server_url: env,
          headers: {
            'X-Key': env
          },
          authorization: env,
          allowed_tools: ['a', env]
        }, { type: 'mcp', server_label: 'b', headers: {} }]
      },
      defaults: { instructions: { $file: 'persona' } },
      prompts: ['p']
    },
    prompts: { p: { session: { audio: { input: { transcription: { model: 'whisper-1', prompt: env } } } } } }
  }))
  const shown = 'but the live session may still show it to the client'
  t.strictSame(lines(problems), [])
  t.strictSame(lines(warnings), [
    `prompts.p.session.audio.input.transcription.prompt is left out of our answers, ${shown}`,
    `policies.0.realtime.fixed.tools.0.server_url is left out of our answers, in every item of its list, ${shown}`,
    `policies.0.realtime.fixed.tools.0.headers is left out of our answers, ${shown}`,
    `policies.0.realtime.fixed.tools.0.authorization is left out of our answers, ${shown}`,
    `policies.0.realtime.fixed.tools.0.allowed_tools.1 is left out of our answers, in every item of its list, ${shown}`,
    `policies.0.realtime.fixed.tools.1.headers is left out of our answers, ${shown}`,
    `policies.0.realtime.defaults.instructions is left out of our answers, ${shown}`
  ])
})
