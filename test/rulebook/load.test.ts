// Problems of a policy file, which prevent the start: all at once, by path and without values.

import t, { type Test } from 'tap'
import type { Json, JsonObject } from '../../src/json.ts'
import { fileWith, lines, problemsOf, readPolicy, rulesOf, type Written } from '../policy/harness.ts'

const AT = 'policies.0.realtime'
const NO_JSON_SCHEMA = 'is not a JSON Schema (2020-12):'
const OPEN = 'a schema that admits objects must set additionalProperties (false, or true for anything)'
const UNTYPED = 'set its type, or additionalProperties (an object would pass)'
const NOT_TAKEN = 'is not what the realtime API takes there'
const TOOLS = 'must fix each tool\'s type: items: { required: [type], properties: { type: { const: function } } }'

const entry = (members: JsonObject): Written => ({ entry: members })
const allowing = (path: string, schema: Json): Written => ({ session: { allow: { [path]: schema } } })
const fixing = (fixed: Json): Written => ({ session: { fixed } })

/** Each line must start with an expected one; the rest of it is advice. */
function assertProblems (
  t: Test, problems: readonly string[], expected: string | readonly string[], name: string
): void {
  const beginnings = [expected].flat()
  t.strictSame(
    problems.map((line) => beginnings.find((beginning) => line.startsWith(beginning)) ?? line).sort(),
    beginnings.toSorted(),
    name
  )
}

t.test('field F8: a scope with white space in when does not load', async (t) => {
  for (const [name, value] of [['scope', 'a b'], ['/scp', 'a\t'], ['scope', ['a', ' b']], ['scp', '']] as const) {
    const problems = problemsOf(entry({ when: { [name]: value as Json } }))
    assertProblems(t, problems, `policies.0.when.${name} can never match`, name)
  }
  t.same(problemsOf(entry({ when: { scope: ['a', 'b'], scp: null, note: 'a b' } })), [])
})

t.test('field F1: a number for the text that names a caller does not load, since it would never match', async (t) => {
  for (const [name, value] of [['sub', 42], ['/sub', ['42', 42]], ['iss', true]] as const) {
    const problems = problemsOf(entry({ when: { [name]: value as Json } }))
    assertProblems(t, problems, `policies.0.when.${name} can never match`, name)
  }
  t.same(problemsOf(entry({ when: { sub: ['42', 'a'], iss: null, '/sub/id': 42, user: 42 } })), [])
})

t.test('A44: a gateway without addresses does not load, whatever its secret: none is trusted by default', async (t) => {
  for (const [secret, from, problem] of [
    ['secret: none', '', 'from is missing'], ['secret: none', 'from: []', 'from must not be empty'],
    ['secret_header: x-s, secret_env: KEY', '', 'from is missing']
  ] as const) {
    const text = `callers: [{ gateway: { issuer: g, header: x-user, ${[secret, from].filter(Boolean).join(', ')} } }]
policies: [{ name: all, when: any, realtime: { fixed: { model: gpt } } }]`
    const { problems, callers } = readPolicy(text)
    t.match(lines(problems), [`callers.0.gateway.${problem}`], text)
    t.equal(callers, null)
  }
})

t.test('fault 42: a text that is not a policy file does not load', async (t) => {
  const rows: [text: string, problems: string[]][] = [
    ['', [' must be object']],
    ['[]', [' must be object']],
    ['policies: [', ['line 1 is not YAML: BAD_INDENT']],
    ['a: 1\na: 2', ['line 2 is not YAML: DUPLICATE_KEY']],
    ['a: 1\n---\na: 2', ['line 2 is not YAML: MULTIPLE_DOCS']],
    ['callers: []\npolicies: !secret x', ['line 2 is not YAML: TAG_RESOLVE_FAILED']],
    ['callers: []\npolicies: !!binary aGk=', ['line 2 is not YAML: TAG_RESOLVE_FAILED']],
    ['callers: !!set { a }', ['line 1 is not YAML: TAG_RESOLVE_FAILED']],
    ['callers: *nobody', [' has an alias to nothing']],
    ['{}', ['callers is missing', 'policies is missing']],
    [
      '{"callers": [], "policies": [], "polices": 1}',
      ['polices is not a known key', 'callers must not be empty', 'policies must not be empty']
    ],
    ['{"callers": [7, {}, {"jwt": {"issuer": ""}}], "policies": [null]}', [
      'callers.0 must be object', 'callers.1 must not be empty',
      'callers.2.jwt.issuer must NOT have fewer than 1 characters', 'policies.0 must be object'
    ]]
  ]
  for (const [text, problems] of rows) {
    const reading = readPolicy(text)
    assertProblems(t, lines(reading.problems), problems, text)
    t.equal(reading.policies, null)
    t.equal(reading.callers, null)
  }
})

const NO_EFFECT = 'has no effect with deny: true'
const NO_TEMPLATE = 'has {{ that does not begin a template: write {{claim}}, {{/json/pointer}} or ' +
  '{{variables.name}}, each with |default'

const ROWS: [name: string, written: Written, problem: string | string[]][] = [
  ['a policy without when', entry({ when: undefined as unknown as Json }), 'policies.0.when is missing'],
  ['when: {}', entry({ when: {} }), 'policies.0.when must not be empty'],
  ['a when that is a word', entry({ when: 'everybody' }), 'policies.0.when must be one of: '],
  ['an empty list in when', entry({ when: { plan: [] } }), 'policies.0.when.plan must not be empty'],
  [
    'an object in when', entry({ when: { plan: { a: 1 } } }),
    'policies.0.when.plan must be one of: '
  ],
  [
    'no limits', entry({ limits: undefined as unknown as Json }),
    'policies.0 needs limits: (write limits: none for no limits)'
  ],
  ['empty limits', entry({ limits: {} }), 'policies.0.limits must not be empty'],
  ['an empty total', entry({ limits: { total: {} } }), 'policies.0.limits.total must not be empty'],
  ['a limit of nothing', entry({ limits: { day: 0, minute: 1.5, week: 1 } }),
    [
      'policies.0.limits.day must be >= 1', 'policies.0.limits.minute must be integer',
      'policies.0.limits.week is not a known key'
    ]],
  ['no limits for guests', entry({ when: 'guest', limits: 'none' }), 'policies.0.limits cannot be none for guests'],
  [
    'a policy without a kind', { entry: { realtime: undefined as unknown as Json } },
    'policies.0 has no session kind: add realtime, transcription, translation, or deny: true'
  ],
  [
    'a denial that grants', entry({ deny: true, limits: { day: 1 } }),
    [`policies.0.realtime ${NO_EFFECT}`, `policies.0.limits ${NO_EFFECT}`]
  ],
  ['deny: false', entry({ deny: false }), 'policies.0.deny must be true'],
  [
    'an unknown key', { session: { fix: {} }, entry: { whem: 1 } },
    ['policies.0.realtime.fix is not a known key', 'policies.0.whem is not a known key']
  ],
  ['empty lists', { session: { allow: {}, ignore: [], aliases: {}, prompts: [], hide: [] }, prompts: {} },
    [
      'prompts must not be empty', ...['allow', 'aliases'].map((key) => `${AT}.${key} must not be empty`),
      ...['ignore', 'prompts', 'hide'].map((key) => `${AT}.${key} must not be empty`)
    ]],
  [
    'a list with duplicates', { session: { ignore: ['a', 'a'] } },
    `${AT}.ignore must NOT have duplicate items (items ## 1 and 0 are identical)`
  ],
  [
    'an invalid path', { session: { allow: { 'a..b': true }, ignore: ['.a'] } },
    [`${AT}.allow.a..b is no dotted path`, `${AT}.ignore.0 has the wrong form`]
  ],
  [
    'a lifetime beyond what upstream takes', { session: { expires_after: { default: 9, max: 7201 } } },
    [`${AT}.expires_after.default must be >= 10`, `${AT}.expires_after.max must be <= 7200`]
  ],
  [
    'a default lifetime above the longest', { session: { expires_after: { default: 61, max: 60 } } },
    `${AT}.expires_after.default is above max`
  ],
  ['an empty lifetime', { session: { expires_after: {} } }, `${AT}.expires_after must not be empty`],

  [
    'a path both fixed and allowed', { session: { fixed: { model: 'm' }, allow: { model: { type: 'string' } } } },
    `${AT}.allow.model is fixed too: allow it or fix it`
  ],
  [
    'an allowed path around a fixed one',
    { session: { fixed: { audio: { output: { voice: 'v' } } }, allow: { 'audio.output': { const: 1 } } } },
    `${AT}.allow.audio.output is fixed too: allow it or fix it`
  ],
  [
    'an allowed path inside a fixed one',
    { session: { fixed: { tracing: null }, allow: { 'tracing.metadata': true } } },
    `${AT}.allow.tracing.metadata is fixed too: allow it or fix it`
  ],
  [
    'an allowed path inside another', { session: { allow: { tracing: { const: null }, 'tracing.metadata': true } } },
    `${AT}.allow.tracing.metadata lies inside another allowed path, or around it`
  ],
  [
    'a path both allowed and ignored',
    { session: { allow: { temperature: { type: 'number' } }, ignore: ['temperature'] } },
    `${AT}.allow.temperature is ignored too: allow it or ignore it`
  ],
  [
    'a prompt that sets what its policy fixes',
    { session: { fixed: { instructions: 'a' }, prompts: ['p'] }, prompts: { p: { session: { instructions: 'b' } } } },
    `prompts.p.session.instructions is fixed by ${AT}: leave it to one of them`
  ],
  ['a default prompt that does', {
    session: { fixed: { audio: { output: { speed: 1 } } }, default_prompt: 'p' },
    prompts: { p: { session: { audio: { output: { speed: 1 } } } } }
  }, `prompts.p.session.audio.output.speed is fixed by ${AT}: leave it to one of them`],
  ['unknown prompts', { session: { prompts: ['p'], default_prompt: 'q' } }, [
    `${AT}.prompts.0 names a prompt that is not under prompts:`,
    `${AT}.default_prompt names a prompt that is not under prompts:`
  ]],
  ['prompt set twice', {
    session: { prompts: ['p'], allow: { prompt: { const: null } }, ignore: ['prompt.x'] },
    prompts: { p: { session: {} } }
  },
  [
      `${AT}.allow.prompt is ignored too: allow it or ignore it`,
      `${AT}.allow.prompt conflicts with prompts: leave out one of them`,
      `${AT}.ignore names prompt, which clients need because of prompts`
  ]],
  ['a type', fixing({ type: 'realtime' }), `${AT}.fixed.type is set by the kind of session already`],
  [
    'an alias that leads nowhere', { session: { fixed: { model: 'm' }, aliases: { old: 'n', older: 'm' } } },
    `${AT}.aliases.old leads to a model that is neither fixed nor allowed`
  ],
  [
    'an alias to what is only a default', { session: { defaults: { model: 'm' }, aliases: { old: 'm' } } },
    `${AT}.aliases.old leads to a model that is neither fixed nor allowed`
  ],
  [
    'an alias to what the schema refuses', { session: { allow: { model: { enum: ['m'] } }, aliases: { old: 'n' } } },
    `${AT}.aliases.old leads to a model that is neither fixed nor allowed`
  ],

  ['a schema of no type', allowing('instructions', { maxLength: 7 }), `${AT}.allow.instructions ${UNTYPED}`],
  [
    'an open object', allowing('tracing', { type: 'object', properties: { group_id: { type: 'string' } } }),
    `${AT}.allow.tracing ${OPEN}`
  ],
  ['an open object deeper down', allowing(
    'tracing', { type: ['object', 'null'], additionalProperties: false, properties: { metadata: { type: 'object' } } }
  ), `${AT}.allow.tracing ${OPEN}`],
  [
    'an open object for other members', allowing('tracing', { type: 'object', additionalProperties: {} }),
    `${AT}.allow.tracing ${UNTYPED}`
  ],
  [
    'an object closed by another keyword', allowing('tracing', { type: 'object', unevaluatedProperties: false }),
    `${AT}.allow.tracing ${OPEN}`
  ],
  [
    'a list of anything', allowing('include', { type: 'array' }),
    `${AT}.allow.include a schema that admits arrays must set items`
  ],
  [
    'a list of open objects', allowing('include', { type: 'array', items: { type: 'object' } }),
    `${AT}.allow.include ${OPEN}`
  ],
  [
    'an open branch', allowing('tracing', { anyOf: [{ type: 'null' }, { type: 'object' }] }),
    `${AT}.allow.tracing a branch of anyOf or oneOf admits objects or arrays: set additionalProperties or items there`
  ],
  ['an open part of all', allowing('tracing', { allOf: [{ minProperties: 1 }] }), `${AT}.allow.tracing ${UNTYPED}`],
  [
    'an open reference', allowing('tracing', { $ref: '#/$defs/any', $defs: { any: { type: 'object' } } }),
    `${AT}.allow.tracing ${OPEN}`
  ],
  [
    'an open reference that stands in two places',
    allowing(
      'tracing',
      { anyOf: [{ $ref: '#/$defs/any' }], allOf: [{ $ref: '#/$defs/any' }], $defs: { any: { type: 'object' } } }
    ),
    `${AT}.allow.tracing a branch of anyOf or oneOf admits objects or arrays: set additionalProperties or items there`
  ],
  [
    'a reference that leads nowhere', allowing('tracing', { $ref: '#/$defs/any' }),
    [
      `${AT}.allow.tracing ${NO_JSON_SCHEMA} has a $ref to a part that it does not have`,
      `${AT}.allow.tracing ${UNTYPED}`
    ]
  ],
  [
    'a reference to elsewhere', allowing('tracing', { $ref: 'https://evil.example/schema' }),
    [
      `${AT}.allow.tracing ${NO_JSON_SCHEMA} has a $ref to a part that it does not have`,
      `${AT}.allow.tracing ${UNTYPED}`
    ]
  ],
  [
    'tools of any type', allowing('tools', { type: 'array', items: { type: 'object', additionalProperties: true } }),
    `${AT}.allow.tools ${TOOLS}`
  ],
  ...[
    {
      type: 'array', items: { type: 'object', additionalProperties: true, properties: { type: { const: 'function' } } }
    },
    {
      type: 'array',
      items: {
        type: 'object', additionalProperties: true, required: ['type'], properties: { type: { type: 'string' } }
      }
    },
    { type: 'array', items: { type: 'object', additionalProperties: { const: 'function' }, required: ['type'] } },
    {
      type: 'array',
      items: {
        type: 'object', additionalProperties: true, required: ['type'], properties: { name: { type: 'string' } }
      }
    },
    {
      type: 'array',
      items: {
        type: 'object', additionalProperties: true, required: ['type'], properties: { type: { enum: ['mcp', 7] } }
      }
    },
    {
      type: 'array',
      items: {
        anyOf: [
          { type: 'object', additionalProperties: true, required: ['type'], properties: { type: { const: 'mcp' } } },
          { type: 'object', additionalProperties: true, properties: { type: { const: 'mcp' } } }
        ]
      }
    },
    {
      type: 'array',
      items: {
        type: 'object',
        additionalProperties: true,
        required: ['type'],
        if: { required: ['name'] },
        then: { properties: { type: { const: 'mcp' } } }
      }
    },
    { type: 'array', items: { enum: [{ type: 'function' }, { name: 'f' }] } },
    { type: 'array', items: { const: {} } },
    { enum: [[], [{ name: 'f' }]] },
    {
      type: 'array',
      items: false,
      minItems: 1,
      maxItems: 1,
      prefixItems: [
        { type: 'object', additionalProperties: true }
      ]
    },
    {
      type: 'array',
      additionalProperties: true,
      items: { $ref: '#/$defs/tool' },
      $defs: {
        tool: { additionalProperties: true, anyOf: [{ $ref: '#/$defs/tool' }] }
      }
    }
  ].map((schema): [string, Written, string] =>
    [`edge L3: ${JSON.stringify(schema)}`, allowing('tools', schema), `${AT}.allow.tools ${TOOLS}`]),
  ['edge L10: a part with an $id of its own', allowing('tracing', {
    $ref: '#/$defs/a',
    $defs: {
      a: {
        $id: 'https://a.example/',
        type: 'object',
        additionalProperties: false,
        properties: { x: { $ref: '#/$defs/a' } },
        $defs: { a: { type: 'object' } }
      }
    }
  }), `${AT}.allow.tracing ${NO_JSON_SCHEMA} has a part with an $id of its own: leave that out`],
  [
    'edge L10: one in a variable', { prompts: { p: { variables: { x: { not: { $id: 'b' } } }, session: {} } } },
    `prompts.p.variables.x ${NO_JSON_SCHEMA} has a part with an $id of its own: leave that out`
  ],
  [
    'edge L10: a reference that is written in two ways',
    allowing('tracing', { $ref: '#/$defs/a%20b', $defs: { 'a%20b': { const: 1 }, 'a b': true } }),
    `${AT}.allow.tracing ${UNTYPED}`
  ],
  ['tools: true', allowing('tools', true), `${AT}.allow.tools ${TOOLS}`],
  ['tools with items: true', allowing('tools', { type: 'array', items: true }), `${AT}.allow.tools ${TOOLS}`],
  ['tools of a type by pattern', allowing('tools', {
    type: 'array',
    items: { type: 'object', additionalProperties: false, properties: { type: { type: 'string', pattern: '.' } } }
  }), `${AT}.allow.tools ${TOOLS}`],
  ['tools of which one branch has any type', allowing(
    'tools', { type: 'array', items: { anyOf: [{ const: {} }, { type: 'object', additionalProperties: true }] } }
  ), `${AT}.allow.tools ${TOOLS}`],
  [
    'tools by a type that is no JSON Schema', allowing('tools', { anyOf: [{ const: [] }, { type: 'string' }] }),
    `${AT}.allow.tools ${TOOLS}`
  ],

  [
    'a misspelt keyword', allowing('model', { type: 'string', maxLenght: 7 }),
    `${AT}.allow.model ${NO_JSON_SCHEMA} strict mode: unknown keyword: "maxLenght"`
  ],
  [
    'a keyword of another type', allowing('model', { type: 'string', maxLength: '7' }),
    `${AT}.allow.model ${NO_JSON_SCHEMA} /maxLength must be integer`
  ],
  [
    'an empty enum', allowing('model', { enum: [] }),
    `${AT}.allow.model ${NO_JSON_SCHEMA} has a keyword with an invalid value, such as an empty enum or a broken pattern`
  ],
  [
    'a format', allowing('model', { type: 'string', format: 'email' }),
    `${AT}.allow.model ${NO_JSON_SCHEMA} names a format, and formats are not checked`
  ],
  ['a schema that is a word', allowing('model', 'string'), `${AT}.allow.model must be one of: `],
  [
    'a variable that is no schema', { prompts: { p: { variables: { x: { type: 'text' } }, session: {} } } },
    `prompts.p.variables.x ${NO_JSON_SCHEMA} /type must be equal to one of the allowed values`
  ],

  [
    'values that upstream does not take',
    fixing({ max_output_tokens: 5000, audio: { output: { speed: 9 } }, tools: [{ type: 'shell' }] }),
    [
      `${AT}.fixed.max_output_tokens ${NOT_TAKEN}`, `${AT}.fixed.audio.output.speed ${NOT_TAKEN}`,
      `${AT}.fixed.tools ${NOT_TAKEN}`
    ]
  ],
  ['a detection that becomes two', {
    session: {
      defaults: { audio: { input: { turn_detection: { type: 'semantic_vad', eagerness: 'low' } } } },
      fixed: { audio: { input: { turn_detection: { type: 'server_vad' } } } }
    }
  }, `${AT}.defaults.audio.input.turn_detection.eagerness ${NOT_TAKEN}`],
  ['a prompt that makes no session', {
    session: { prompts: ['p', 'q'], default_prompt: 'q' },
    prompts: { p: { session: { temperature: 9 } }, q: { session: {} } }
  }, `prompts.p.session.temperature ${NOT_TAKEN}`],
  ['a translation without a model', { kind: 'translation' }, 'policies.0.translation is not a complete session config'],
  ['a prompt that leaves it without one', {
    kind: 'translation',
    session: { prompts: ['p', 'q'], default_prompt: 'q' },
    prompts: { p: { session: {} }, q: { session: { model: 'm' } } }
  }, 'prompts.p.session is not a complete session config in policies.0.translation'],
  ['a slip in a template', fixing({
    instructions: 'You are {{name}.', tools: [{ type: 'function', name: '{{ }}' }], tracing: { group_id: '{{a|{b}}}' }
  }),
  ['instructions', 'tools.0.name', 'tracing.group_id'].map((path) =>
      `${AT}.fixed.${path} ${NO_TEMPLATE}`)],
  ['a variable that no prompt declares', {
    session: { fixed: { instructions: '{{variables.x|y}}' }, prompts: ['p'] },
    prompts: { p: { variables: { z: true }, session: { tracing: { group_id: '{{variables.x}}' } } } }
  },
  [
    'prompts.p.session reads variables.x, which no prompt here declares under variables:',
      `${AT}.fixed reads variables.x, which no prompt here declares under variables:`
  ]],
  ['two ways to a secret', fixing({
    instructions: { $env: 'A', $file: 'b' }, tracing: { group_id: { $env: 7 }, workflow_name: { $file: 'b', more: 1 } }
  }), ['instructions', 'tracing.group_id', 'tracing.workflow_name'].map(
    (key) => `${AT}.fixed.${key} must be { $env: NAME } or { $file: PATH }, and nothing else`
  )],
  ['nothing', {}, []]
]

t.test('fault 42: each problem is reported by its path', async (t) => {
  for (const [name, written, expected] of ROWS) assertProblems(t, problemsOf(written), expected, name)
})

t.test('fault 42: a blocked caller is named by subject, with or without issuer, or by safety identifier', async (t) => {
  const blocked = (entry: Json) =>
    lines(readPolicy(fileWith({}).replace(/}$/, `,"blocked":[${JSON.stringify(entry)}]}`)).problems)
  assertProblems(t, blocked({}), ['blocked.0 must not be empty'], 'empty')
  assertProblems(
    t,
    blocked({ issuer: 'a' }),
    ['blocked.0.subject must have property subject when property issuer is present'],
    'issuer alone'
  )
  assertProblems(t, blocked({ safety_identifier: '5F1C' }), ['blocked.0.safety_identifier has the wrong form'], 'short')
  t.strictSame(blocked({ issuer: 'a', subject: 'b' }), [])
})

t.test('fault 42: each caller entry has exactly one kind, with its keys and no others', async (t) => {
  const forward = { issuer: 'app', url: 'http://app/me', pass: [], subject: '/id' }
  const rows: [entry: Json, problems: string[]][] = [
    [{ guest: { x: 1 } }, ['callers.0.guest.x is not a known key']],
    [{ jwt: { issuer: 'a' }, guest: {} }, ['callers.0 must']],
    [{ cookie: 'sid' }, ['callers.0.cookie is not a known key']],
    [{ jwt: {} }, ['callers.0.jwt.issuer is missing']],
    [{ jwt: { issuer: 'a', algorithms: ['none'] } }, ['callers.0.jwt.algorithms.0 must be one of ']],
    [{ forward }, ['callers.0.forward.pass must not be empty']],
    [{ forward: { ...forward, pass: ['cookie'], subject: 'id' } }, ['callers.0.forward.subject has the wrong form']]
  ]
  for (const [entry, problems] of rows) {
    const reading = readPolicy(JSON.stringify({ callers: [entry], policies: [{ name: 'a', when: 'any', deny: true }] }))
    assertProblems(t, lines(reading.problems), problems, JSON.stringify(entry))
    t.equal(reading.callers, null)
  }
})

t.test('fault 42: keys that would reach a prototype are refused anywhere', async (t) => {
  for (const name of ['__proto__', 'constructor', 'prototype']) {
    t.strictSame(lines(
      readPolicy(`policies: [{ realtime: { fixed: { tools: [{ ${name}: { x: 1 } }] } } }]\n${name}: 1`).problems
    ), [
      `policies.0.realtime.fixed.tools.0.${name} is a reserved name`, `${name} is a reserved name`
    ])
  }
  t.equal(({} as JsonObject).x, undefined)
})

t.test('fault 42: numbers that JSON cannot represent are refused', async (t) => {
  t.strictSame(
    lines(readPolicy('a: [.inf, { b: -.inf }]\nc: .nan').problems),
    ['a.0', 'a.1.b', 'c'].map((path) => `${path} is not a number that JSON can represent`)
  )
})

t.test('fault 42: aliases can neither expand without bound nor contain themselves', async (t) => {
  const list = Array.from({ length: 30 }, (_, i) =>
    i === 0 ? 'x0: &x0 [a, a]' : `x${i}: &x${i} [*x${i - 1}, *x${i - 1}]`).join('\n')
  const merged = Array.from({ length: 30 }, (_, i) =>
    i === 0 ? 'x0: &x0 { k: v }' : `x${i}: &x${i} { a: { <<: *x${i - 1} }, b: { <<: *x${i - 1} } }`).join('\n')
  for (const text of [list, merged, 'callers: &a { b: *a }', 'callers: &a [*a]']) {
    assertProblems(
      t,
      lines(readPolicy(text).problems),
      ' has an alias to nothing or into itself, too many aliases, or is nested too deeply',
      text.slice(0, 20)
    )
  }
})

t.test('fault 42: a syntax error that breaks the rest is reported once', async (t) => {
  for (const text of ['['.repeat(1000), '['.repeat(100_000) + ']'.repeat(100_000)]) {
    assertProblems(t, lines(readPolicy(text).problems), ['line 1 is not YAML: '], text.slice(0, 20))
  }
})

t.test('fault 42: a recursive schema is checked once', async (t) => {
  const properties = Object.fromEntries('abcdefgh'.split('').map((key) => [key, { $ref: '#' }]))
  t.strictSame(problemsOf(allowing('brand_new', { type: 'object', additionalProperties: false, properties })), [])
  t.strictSame(problemsOf(
    allowing('brand_new', { type: 'object', additionalProperties: false, properties: { ...properties, i: {} } })
  ), [`${AT}.allow.brand_new ${UNTYPED}`])
})

t.test('edge L10: an $id at the root, or as the name of a member, loads', async (t) => {
  const properties = { $id: { const: 1 }, x: { enum: [{ $id: 'x' }] } }
  t.strictSame(problemsOf(
    allowing('brand_new', { $id: 'https://a.example/', type: 'object', additionalProperties: false, properties })
  ), [])
})

t.test('edge L8: a pattern that may backtrack for minutes loads with a warning', async (t) => {
  const warningsOf = (schema: Json) => lines(readPolicy(fileWith(allowing('model', schema))).warnings)
  const slow = [
    `${AT}.allow.model has a pattern with a repetition inside another one: if both match the same text, ` +
      'one string of a client may block all requests'
  ]
  t.strictSame(warningsOf({ type: 'string', pattern: '^(a+)+$' }), slow)
  t.strictSame(warningsOf({ anyOf: [{ type: 'string', pattern: '^([a-z]*)*$' }] }), slow)
  t.strictSame(
    warningsOf({ type: 'object', additionalProperties: false, patternProperties: { '(x+)*': { type: 'string' } } }),
    slow
  )
  for (const pattern of ['(a+|b)+', '((a*))*', '(\\)a{2,})+x', '([)]a+){3,}']) {
    t.strictSame(warningsOf({ type: 'string', pattern }), slow, pattern)
  }
  for (const pattern of ['^[a-z]{2}(-[A-Z]{2})?$', '^(a|b)+c*$', '^([+*])+$', '^(\\+)+$', '(a+)(b)*', '(a{2,3}b?)+']) {
    t.strictSame(warningsOf({ type: 'string', pattern }), [], pattern)
  }
})

t.test('fault 42: guests need a safety identifier secret', async (t) => {
  t.strictSame(
    problemsOf({}, { hasSafetyIdentifierSecret: false }),
    ['callers.1.guest needs SAFETY_IDENTIFIER_SECRET: the plain hash of an address can be reversed']
  )
})

t.test('fault 42: an unreadable secret is reported by name', async (t) => {
  const missing = {
    env: (name: string): string => { throw new Error(`names ${name}, which is not set in the environment`) },
    file: (): string => { throw new Error('names a file that cannot be read') }
  }
  const tools = [
    { type: 'mcp', server_label: 'crm', authorization: { $file: '/canary' }, headers: { 'X-Key': { $env: 'MCP_KEY' } } }
  ]
  t.strictSame(problemsOf(
    { ...fixing({ tools }), prompts: { p: { session: { instructions: { $env: 'P' } } } } }, { secrets: missing }
  ), [
    'prompts.p.session.instructions names P, which is not set in the environment',
    `${AT}.fixed.tools.0.authorization names a file that cannot be read`,
    `${AT}.fixed.tools.0.headers.X-Key names MCP_KEY, which is not set in the environment`
  ])
})

t.test('fault 42: settings that the legacy API cannot express do not load for it', async (t) => {
  const UNSUPPORTED = 'cannot be sent to an upstream of OPENAI_MINT_API=sessions'
  const vad = {
    type: 'object',
    additionalProperties: false,
    properties: { type: { const: 'server_vad' }, idle_timeout_ms: { type: 'integer' } }
  }
  const rows: [Written, string[]][] = [
    [{ kind: 'translation', session: { fixed: { model: 'm' } } }, [
      'policies.0.translation cannot be minted with OPENAI_MINT_API=sessions',
      `policies.0.translation.fixed.model ${UNSUPPORTED}`
    ]],
    [
      fixing({ reasoning: { effort: 'low' }, tools: [{ type: 'mcp', server_label: 'crm' }] }),
      [`${AT}.fixed.reasoning.effort ${UNSUPPORTED}`, `${AT}.fixed.tools ${UNSUPPORTED}`]
    ],
    [{
      session: { defaults: { parallel_tool_calls: true }, prompts: ['p'] },
      prompts: {
        p: { session: { audio: { input: { turn_detection: { type: 'server_vad', idle_timeout_ms: 5000 } } } } }
      }
    },
    [
        `${AT}.defaults.parallel_tool_calls ${UNSUPPORTED}`,
        `prompts.p.session.audio.input.turn_detection.idle_timeout_ms ${UNSUPPORTED}`
    ]],
    [allowing('reasoning.effort', { enum: ['low'] }), [`${AT}.allow.reasoning.effort ${UNSUPPORTED}`]],
    [
      allowing('audio.input.turn_detection', { anyOf: [{ type: 'null' }, vad] }),
      [`${AT}.allow.audio.input.turn_detection ${UNSUPPORTED}`]
    ],
    [
      allowing('audio.input.noise_reduction', { enum: [null, { type: 'near_field', strength: 1 }] }),
      [`${AT}.allow.audio.input.noise_reduction ${UNSUPPORTED}`]
    ],
    [{
      session: {
        fixed: { temperature: 0.8, tools: [{ name: 'f' }] },
        allow: {
          'audio.output.voice': { enum: ['marin'] }, 'audio.input.turn_detection': { const: { type: 'server_vad' } }
        }
      }
    }, []]
  ]
  for (const [written, expected] of rows) {
    assertProblems(t, problemsOf(written, { legacyOnly: true }), expected, JSON.stringify(written))
    t.strictSame(problemsOf(written), [])
  }
})

t.test('fault 42: policy names are unique', async (t) => {
  const denial = { name: 'a', when: 'any', deny: true }
  t.strictSame(lines(readPolicy(
    JSON.stringify({ callers: [{ guest: {} }], policies: [denial, denial, { ...denial, name: 'b' }, denial] })
  ).problems),
  ['policies.1.name is the name of another policy too', 'policies.3.name is the name of another policy too'])
})

t.test('fault 42: problems of all kinds are reported at once', async (t) => {
  const { problems, policies, callers } = readPolicy(JSON.stringify({
    callers: [{ jwt: { issuer: 'https://auth.example.com/' } }],
    polices: [],
    prompts: { good: { session: {} }, bad: { session: 7 }, 'with-slip': { session: { instructions: '{{' } } },
    policies: [
      {
        name: 'empty list and contradiction',
        when: 'any',
        limits: 'none',
        realtime: {
          ignore: [], fixed: { model: 'm' }, allow: { model: { type: 'string' } }
        }
      },
      { name: 'no when', limits: 'none', realtime: {} },
      {
        name: 'unknown key and contradiction',
        when: 'any',
        limits: 'none',
        surprise: 1,
        realtime: {
          expires_after: { default: 60, max: 30 }, prompts: ['bad', 'gone']
        }
      },
      { name: 'bad schema', when: 'any', limits: 'none', realtime: { allow: { tools: true } } }
    ],
    blocked: []
  }))
  assertProblems(t, lines(problems), [
    'blocked must not be empty',
    'policies.0.realtime.allow.model is fixed too: allow it or fix it',
    'policies.0.realtime.ignore must not be empty',
    'policies.1.when is missing',
    'policies.2.realtime.expires_after.default is above max',
    'policies.2.realtime.prompts.1 names a prompt that is not under prompts:',
    'policies.2.surprise is not a known key',
    `policies.3.realtime.allow.tools ${TOOLS}`,
    'polices is not a known key',
    'prompts.bad.session must be object',
    `prompts.with-slip.session.instructions ${NO_TEMPLATE}`
  ], 'all at once')
  t.equal(policies, null)
  t.strictSame(
    callers, [{ jwt: { issuer: 'https://auth.example.com/' } }], 'so that their problems are reported too'
  )
})

t.test('fault 42: no value of the file is ever reported', async (t) => {
  const canary = 'canary'
  const texts = [
    ...[
      'callers: "canary', 'a: canary\na: canary', 'a: *canary', 'a: !canary canary', 'policies: canary',
      'a: [canary, &b *b]', '"canary'
    ].values(),
    ...[
      fixing({
        model: [canary],
        instructions: `{{ ${canary}`,
        type: canary,
        audio: canary,
        max_output_tokens: canary,
        tools: canary
      }),
      fixing({ model: { $env: canary, $file: canary }, voice: `canary ${'{{'}` }),
      {
        session: {
          expires_after: canary, aliases: { old: canary }, prompts: [canary], default_prompt: canary, ignore: canary
        }
      },
      {
        session: {
          allow: {
            model: canary,
            instructions: { pattern: `[${canary}`, type: 'string' },
            tracing: { $ref: canary },
            include: { type: canary },
            voice: { type: 'string', format: canary },
            temperature: { enum: canary },
            truncation: { type: 'integer', minimum: canary }
          }
        }
      },
      entry({ when: canary, limits: canary, deny: canary }),
      entry({ limits: { day: canary, total: canary } }),
      entry({ name: { canary }, when: { plan: { canary } } }),
      { session: { fixed: { model: canary }, aliases: { old: 'other' }, allow: { model: { const: canary } } } },
      { session: canary }
    ].map(fileWith)
  ]
  for (const text of texts) {
    const { problems } = readPolicy(text)
    t.ok(problems.length > 0, text)
    t.notMatch(lines(problems).join('\n'), canary, text)
  }
})

t.test('fault 42: aliases are not checked if the models depend on the request', async (t) => {
  const schema = { type: 'object', additionalProperties: false, properties: { model: { type: 'string' } } }
  t.strictSame(problemsOf(
    { kind: 'transcription', session: { allow: { 'audio.input.transcription': schema }, aliases: { old: 'new' } } }
  ), [])
  t.strictSame(problemsOf({ session: { fixed: { model: '{{model|m}}' }, aliases: { old: 'new' } } }), [])
  t.strictSame(problemsOf(
    { session: { prompts: ['p'], aliases: { old: 'new' } }, prompts: { p: { session: { model: '{{model|m}}' } } } }
  ), [])
  t.strictSame(
    problemsOf({ session: { prompts: ['p'], aliases: { old: 'new' } }, prompts: { p: { session: { model: 'new' } } } }),
    []
  )
})

t.test('fault 42: closed schemas load, whatever keywords close them', async (t) => {
  const closed = { type: 'object', additionalProperties: false, properties: { group_id: { type: 'string' } } }
  const schemas: Json[] = [
    true, { type: 'string' }, { enum: [{ a: 1 }, null] }, {
      const: { a: [1] }
    }, closed, { ...closed, additionalProperties: true }, { ...closed, additionalProperties: { type: 'number' } },
    { anyOf: [{ type: 'null' }, closed] }, { oneOf: [closed, { type: 'string' }], anyOf: [{ minProperties: 1 }] }, {
      allOf: [closed, { minProperties: 1 }]
    },
    { $ref: '#/$defs/a~1b', $defs: { 'a/b': closed } }, { anyOf: [{ $ref: '#/anyOf/1' }, closed] }, {
      type: 'array', items: { type: 'string' }
    }, { type: 'array', items: false, prefixItems: [closed], minItems: 1, maxItems: 1 },
    { ...closed, patternProperties: { '^x': { type: 'number' } } }
  ]
  for (const schema of schemas) t.strictSame(problemsOf(allowing('brand_new', schema)), [], JSON.stringify(schema))
})

t.test('edge L3: schemas that fix the type of every tool load', async (t) => {
  const fixed = { properties: { type: { const: 'function' } } }
  const item = { type: 'object', additionalProperties: true, required: ['type'], ...fixed }
  const schemas: Json[] = [
    { const: [] }, { enum: [[], [{ type: 'function' }]] }, { type: 'array', items: item }, {
      type: 'array', items: { enum: [{ type: 'function', name: 'f' }] }
    }, { type: 'array', items: { anyOf: [item, { const: { type: 'mcp', server_label: 'crm' } }] } },
    { anyOf: [{ type: 'null' }, { type: 'array', items: item }] }, {
      $ref: '#/$defs/tools', $defs: { tools: { type: 'array', items: { $ref: '#/$defs/tool' } }, tool: item }
    },
    { type: 'array', items: false, prefixItems: [item], minItems: 1, maxItems: 1 },
    {
      type: 'array',
      items: { type: 'object', additionalProperties: true, required: ['type'], allOf: [{ minProperties: 1 }, fixed] }
    },
    {
      type: 'array',
      items: {
        type: 'object',
        additionalProperties: true,
        required: ['type'],
        if: { properties: { name: { const: 'f' } } },
        then: fixed,
        else: { properties: { type: { enum: ['mcp'] } } }
      }
    },
    {
      type: 'array',
      items: {
        type: 'object',
        additionalProperties: true,
        oneOf: [item, { required: ['type'], properties: { type: { $ref: '#/$defs/type' } } }]
      },
      $defs: { type: { anyOf: [{ const: 'mcp' }, { enum: ['function'] }] } }
    },
    { allOf: [{ type: 'array', items: item }, { maxItems: 3 }] }
  ]
  for (const schema of schemas) t.strictSame(problemsOf(allowing('tools', schema)), [], JSON.stringify(schema))
})

t.test('fault 42: an empty session kind loads, and so does JSON with tabs', async (t) => {
  t.equal(rulesOf({}).kind, 'realtime')
  t.strictSame(lines(readPolicy(JSON.stringify(JSON.parse(fileWith({})), null, '\t')).problems), [])
})
