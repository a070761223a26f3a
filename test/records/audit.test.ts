import fc from 'fast-check'
import t from 'tap'
import { ApiError } from '../../src/errors.ts'
import type { JsonObject } from '../../src/json.ts'
import { createAudit, type MintEntry } from '../../src/records/audit.ts'
import type { ConfirmOptions } from '../../src/records/lines.ts'
import { CALLERS, POLICY, startApp } from '../support/app.ts'
import { keepLines, MINT_ENTRY as entry } from '../support/lines.ts'
import { exchange } from '../support/raw-http.ts'

/** Many times the number of lines that are written in a second. */
const FLOOD = 120

t.test('a line has the time of the wall clock, also when that is set back', async (t) => {
  const lines = keepLines()
  let ms = 0
  const audit = createAudit(lines, () => ms)
  t.teardown(audit.close)
  const last = Date.UTC(9999, 11, 31)
  fc.assert(fc.property(fc.array(fc.oneof(fc.nat(3000), fc.nat(last))), (times) => times.every((time) => {
    ms = time
    audit.record('mint.refused', entry)
    return JSON.parse(lines.kept.at(-1) ?? '').time === new Date(time).toISOString()
  })))
})

t.test('a flood of the unauthenticated leaves ten lines a second for each code, and then a count', async (t) => {
  const lines = keepLines()
  const audit = createAudit(lines)
  for (let i = 0; i < 1000; i++) audit.recordBounded('mint.refused', entry)
  for (let i = 0; i < 11; i++) audit.recordBounded('mint.refused', { ...entry, code: 'origin_not_allowed' })
  t.equal(lines.kept.length, 20)
  // The audit's own timer does not keep a process alive.
  const alive = setTimeout(() => {}, 10_000)
  await lines.wrote(22)
  clearTimeout(alive)
  const counted = lines.kept.slice(20).map((line) => JSON.parse(line))
  t.match(counted, [
    { audit: 1, event: 'mint.refused', code: 'invalid_credentials', count: 990, time: String },
    { audit: 1, event: 'mint.refused', code: 'origin_not_allowed', count: 1 }
  ])
  audit.recordBounded('mint.refused', entry)
  t.match(JSON.parse(lines.kept[22] ?? ''), entry, 'the next second starts at zero')
  audit.close()
  t.equal(lines.kept.length, 23)
})

t.test('open counts are written when the audit closes', async (t) => {
  const lines = keepLines()
  const audit = createAudit(lines)
  for (let i = 0; i < 15; i++) audit.recordBounded('mint.refused', entry)
  audit.close()
  t.match(JSON.parse(lines.kept.at(-1) ?? ''), { count: 5 })
})

t.test('operate O12: refusals of one caller leave ten lines a second for each code, and then a count', async (t) => {
  const lines = keepLines()
  const audit = createAudit(lines)
  const refused = (subject: string, code: MintEntry['code'], times: number) => {
    for (let i = 0; i < times; i++) audit.recordBounded('mint.refused', { ...entry, subject, code })
  }
  refused('ada', 'limits_unavailable', 400)
  refused('ada', 'policy_violation', 10)
  refused('bob', 'limits_unavailable', 11)
  t.equal(lines.kept.length, 30)
  audit.close()
  t.match(lines.kept.slice(30).map((line) => JSON.parse(line)), [
    { event: 'mint.refused', subject: 'ada', code: 'limits_unavailable', count: 390 },
    { event: 'mint.refused', subject: 'bob', code: 'limits_unavailable', count: 1 }
  ])
})

t.test('operate O12: while limits cannot be checked, what one caller adds to log and audit is bounded', async (t) => {
  const app = await startApp(t, {
    limits: { take: async () => { throw new ApiError('limits_unavailable', { retryAfterSeconds: 1 }) } }
  })
  const ada = `Bearer ${await app.token()}`
  for (let i = 0; i < FLOOD; i++) {
    t.equal((await app.mint('client_secrets', {}, { authorization: ada })).status, 503)
  }
  const bob = `Bearer ${await app.token({ sub: 'bob' })}`
  t.equal((await app.mint('client_secrets', {}, { authorization: bob })).status, 503)
  await app.stop()
  const lines = app.auditLines()
  t.ok(lines.length < FLOOD, `${lines.length} audit lines`)
  const subjects = new Set(lines.map(({ subject }) => subject))
  t.equal(subjects.size, 2, 'and no line without a subject')
  const counted = (of: readonly JsonObject[]) => of.reduce((sum, { count = 1 }) => sum + Number(count), 0)
  t.equal(counted(lines), FLOOD + 1, 'none is lost')
  const logged = app.logLines().filter(({ code }) => code === 'limits_unavailable')
  t.ok(logged.length < FLOOD, `${logged.length} log lines`)
  t.equal(counted(logged), FLOOD + 1)
  for (const subject of subjects) t.notOk(app.log.kept.join('').includes(String(subject)), 'the log names no one')
})

t.test('operate O9: log and audit name the field that the policy refuses, and never its value', async (t) => {
  const app = await startApp(t)
  const long = 'x'.repeat(5000)
  const fields: [route: string, body: JsonObject, param: string | null][] = [
    ['client_secrets', { session: { audio: { output: { voice: 'Zoe' } } } }, 'session.audio.output.voice'],
    ['client_secrets', { session: { instructions: 'Zoe' } }, 'session.instructions'],
    ['client_secrets', { session: { novelty: { 'a\u2028b': 'Zoe' } } }, 'session.novelty.a\u2028b'],
    ['client_secrets', { session: { [long]: 'Zoe' } }, `session.${long}`.slice(0, 256)],
    ['client_secrets', { expires_after: { seconds: 9999 } }, 'expires_after.seconds'],
    ['sessions', { voice: 'Zoe' }, 'voice'],
    ['translations/client_secrets', { session: { audio: { output: { language: 'Zoe' } } } },
      'session.audio.output.language']
  ]
  for (const [i, [route, body, param]] of fields.entries()) {
    const { status, body: { error } } = await app.mint(route, body)
    t.equal(status, 403)
    t.match(error, { param }, 'as the client sees it')
    t.match(app.auditLines()[i], { event: 'mint.refused', code: 'policy_violation', param })
    t.match(app.logLines().findLast(({ msg }) => msg === 'refused'), { code: 'policy_violation', param })
  }
  t.notMatch(app.log.kept.join('') + app.audit.kept.join(''), /Zoe|9999|\u2028/)
  await app.mint('client_secrets')
  t.match(app.auditLines().at(-1), { event: 'mint.granted', param: null })
})

t.test('edge M1: a flood without a credential is bounded in the log as in the audit trail', async (t) => {
  const mint = 'POST /v1/realtime/client_secrets HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n'
  const forwarded = 'X-Forwarded-For: 10.0.0.1\r\nForwarded: for=10.0.0.1\r\nX-Request-Id: 1\r\ntraceparent: x\r\n'
  const floods: [name: string, head: string, code: string | null][] = [
    ['no credential', mint, 'invalid_credentials'],
    ['an address that asks too often', mint, 'rate_limit_exceeded'],
    ['a foreign origin', `${mint}Origin: https://evil.test\r\n`, 'origin_not_allowed'],
    ['no such address', 'GET /.env HTTP/1.1\r\nHost: x\r\n', 'not_found'],
    ['no such method', 'DELETE /v1/realtime/client_secrets HTTP/1.1\r\nHost: x\r\n', 'method_not_allowed'],
    ['forwarding headers of a peer that is no proxy', mint + forwarded, 'invalid_credentials'],
    ['a URL that cannot be decoded', 'GET /v1/%ff HTTP/1.1\r\nHost: x\r\n', null],
    ['two types', `${mint}Content-Type: a/b\r\nContent-Type: a/b\r\n`, null],
    ['no HTTP', 'GET\r\n', null]
  ]
  for (const [name, head, code] of floods) {
    const app = await startApp(t, { env: { ADDRESS_LIMIT_PER_MINUTE: code === 'rate_limit_exceeded' ? '1' : '0' } })
    const began = performance.now()
    const answers = await exchange(app, `${head}\r\n`.repeat(FLOOD - 1) + `${head}Connection: close\r\n\r\n`)
    const seconds = Math.ceil((performance.now() - began) / 1000) + 1
    t.ok(answers.length > 0 && answers.every(({ status }) => status >= 400), name)
    await app.close()
    const lines = app.logLines().filter(({ msg }) => msg === 'refused')
    t.ok(lines.length <= 11 * seconds, `${name}: ${lines.length} lines`)
    t.equal(lines.at(-1)?.code ?? null, code)
    t.equal(lines.reduce((sum, { count = 1 }) => sum + Number(count), 0), code === null ? 0 : FLOOD, 'each is counted')
  }
})

t.test('edge M1: a line with a count has the level of the lines that it counts', async (t) => {
  const endpoint = "{ issuer: app, url: 'http://127.0.0.1:9/', header: x-session, pass: [x-session], subject: /id }"
  const policy = POLICY.replace(CALLERS, `callers: [{ forward: ${endpoint} }]`)
  const app = await startApp(t, { policy })
  for (let i = 0; i < 30; i++) {
    await app.request('/v1/realtime/policy')
    await app.request('/v1/realtime/policy', { headers: { 'x-session': 'x' } })
  }
  await app.close()
  const refused = app.logLines().filter(({ msg }) => msg === 'refused')
  for (const [code, level] of [['identity_unavailable', 'error'], ['invalid_credentials', 'info']]) {
    const lines = refused.filter((line) => line.code === code)
    t.ok(lines.every((line) => line.level === level) && lines.some(({ count }) => Number(count) > 0), String(code))
  }
})

t.test('edge M1: refusals of an authenticated caller are all logged', async (t) => {
  const app = await startApp(t)
  for (let i = 0; i < 30; i++) await app.mint('client_secrets', '{')
  t.equal(app.logLines().filter(({ code, count }) => code === 'invalid_json' && count === undefined).length, 30)
})

t.test('refusals of authenticated callers are all written, one by one', async (t) => {
  const app = await startApp(t)
  const policyless = { authorization: `Bearer ${await app.token({ plan: 'free' })}` }
  for (let i = 0; i < 30; i++) {
    await app.mint('client_secrets', {}, i % 2 === 0 ? policyless : { 'content-type': 'text/plain' })
  }
  t.equal(app.audit.kept.length, 30)
  t.match(app.auditLines(), [{
    code: 'no_policy', reason: 'none_matches', policy: null, issuer: 'https://auth.test/', subject: /^[0-9a-f]{64}$/
  }, { code: 'unsupported_media_type', policy: 'pro' }])
})

t.test('the line of a refusal has what was known at that point', async (t) => {
  const app = await startApp(t)
  const rows: [route: string, body: unknown, headers: Record<string, string | undefined>, line: object][] = [
    ['sessions', {}, { origin: 'https://evil.test' }, { code: 'origin_not_allowed', issuer: null }],
    [
      'sessions', {}, { authorization: undefined },
      { code: 'invalid_credentials', reason: 'no_credentials', subject: null }
    ],
    [
      'sessions', {}, { authorization: `Bearer ${await app.token({ status: 'suspended' })}` },
      { code: 'no_policy', reason: 'suspended', policy: null }
    ],
    [
      'sessions', {}, { authorization: `Bearer ${await app.token({ sub: 'blocked' })}` },
      { code: 'caller_blocked', policy: null }
    ],
    ['sessions', '{', { 'content-type': 'application/json' }, { code: 'invalid_json', policy: 'pro', kind: null }],
    [
      'client_secrets', { session: { type: 'transcription', model: 'x' } }, {},
      { code: 'policy_violation', kind: 'transcription', model: null }
    ]
  ]
  for (const [route, body, headers, line] of rows) {
    await app.mint(route, body, headers)
    t.match(
      app.auditLines().at(-1),
      { audit: 1, event: 'mint.refused', secret_sha256: null, session_id: null, expires_at: null, ...line }
    )
  }
})

t.test('a grant that is written too late is followed by a line that corrects it', async (t) => {
  const late: string[] = []
  const lines = keepLines()
  const audit = createAudit({ ...lines, confirm: async (_line, { ifLate } = {}) => { late.push(ifLate?.() ?? '') } })
  await audit.confirm('mint.granted', entry, { ifLate: 'mint.undelivered' })
  t.match(JSON.parse(late[0] ?? ''), { event: 'mint.undelivered', code: 'audit_unavailable', request_id: 'r' })
  audit.close()
})

t.test('any line can be confirmed, and one without a correction is not corrected', async (t) => {
  const lines = keepLines()
  const given: ConfirmOptions[] = []
  const audit = createAudit({ ...lines, confirm: async (_line, confirming = {}) => { given.push(confirming) } })
  await audit.confirm('mint.unknown', entry)
  t.same(given, [{ withinMs: Infinity }])
  audit.close()
})

t.test('the line of a mint has these keys, in this order', async (t) => {
  const app = await startApp(t)
  await app.mint('client_secrets')
  t.same(Object.keys(app.auditLines()[0] ?? {}), [
    'audit', 'time', 'level', 'severity', 'event', 'request_id', 'subject', 'issuer', 'policy', 'kind', 'model',
    'prompt', 'session_id', 'secret_sha256', 'expires_at', 'ignored', 'code', 'reason', 'param',
    'upstream_request_id', 'duration_ms'
  ])
})

t.test('field F26: an audit line has level and severity too, a warning where a secret may be loose', async (t) => {
  const lines = keepLines()
  const audit = createAudit(lines)
  t.teardown(audit.close)
  await audit.confirm('mint.granted', entry)
  audit.recordBounded('mint.refused', entry)
  audit.record('mint.undelivered', entry)
  audit.record('mint.unknown', entry)
  t.match(lines.kept.map((line) => JSON.parse(line)), [
    { event: 'mint.granted', level: 'info', severity: 'INFO' },
    { event: 'mint.refused', level: 'info', severity: 'INFO' },
    { event: 'mint.undelivered', level: 'warn', severity: 'WARNING' },
    { event: 'mint.unknown', level: 'warn', severity: 'WARNING' }
  ])
  t.same(
    Object.keys(JSON.parse(lines.kept[0] ?? '')).slice(0, 6),
    ['audit', 'time', 'level', 'severity', 'event', 'request_id']
  )
})
