// The invariants, checked for every answer that a test gets.

import assert from 'node:assert/strict'
import type { Answer } from './app.ts'
import type { KeptLines } from './lines.ts'
import type { Upstream } from './upstream.ts'

export type Watched = Readonly<{ upstream: Upstream, audit: KeptLines, log: KeptLines, canaries: readonly string[] }>

const REFUSED_BY_UPSTREAM = ['upstream_', 'audit_unavailable']
const UNAUTHORIZED = '{"error":{"message":"The request presents no valid credential.",' +
  '"type":"authentication_error","code":"invalid_credentials","param":null}}'

/** `linesBefore` is the number of audit lines before the request. */
export function assertInvariants (
  app: Watched, answer: Answer, linesBefore: number, sent: readonly (string | undefined)[]
): void {
  const code = (answer.body.error as { code?: string } | undefined)?.code ?? ''
  const id = answer.headers.get('x-request-id') as string
  // I1. The exception is an upstream 400 that names a field of the client's request.
  const lines = app.audit.kept.slice(linesBefore).map((text) => JSON.parse(text))
    .filter(({ request_id: of, event }) => of === id && event !== 'mint.undelivered')
  // A first attempt that may have minted has its own audit line before that of the retry.
  const line = lines.length === 2 && lines[0].event === 'mint.unknown' ? lines.slice(1) : lines
  const askedUpstream = answer.status === 200 || REFUSED_BY_UPSTREAM.some((prefix) => code.startsWith(prefix)) ||
    line[0]?.reason === 'upstream_400'
  if (!askedUpstream) {
    assert.equal(
      app.upstream.requests.filter(({ headers }) => headers['x-client-request-id'] === id).length,
      0,
    `a request refused with ${code} called upstream`
    )
  }
  // I2.
  if (answer.status === 401) {
    assert.equal(answer.text, UNAUTHORIZED)
    assert.equal(answer.headers.get('www-authenticate'), 'Bearer')
  }
  assertNoCanary(app, answer, sent)
  assertAnswerHeaders(answer)
  // I5. Beyond the tenth in a second, refusals without a credential and 503s of one caller are summed up.
  const isBounded = (text: string) => answer.status === 503 || text.includes('"subject":null')
  const similar = app.audit.kept.filter((text) => isBounded(text) && text.includes(`"code":"${code}"`))
  if (line.length === 0 && similar.length >= 10) return
  assert.equal(line.length, 1, `${line.length} audit lines for one decision`)
  assert.equal(line[0].event === 'mint.granted', answer.status === 200)
  assert.equal(line[0].code, code === '' ? null : code)
}

/** I3. A minted secret is in its own 200 and nowhere else. */
export function assertNoCanary (app: Watched, answer: Answer, sent: readonly (string | undefined)[] = []): void {
  const secrets = [
    ...app.canaries,
    ...sent.flatMap((value) => value === undefined || value.length < 12 ? [] : value.replace(/^\S+ /, '')), 'canary'
  ]
  const headers = JSON.stringify([...answer.headers])
  const own = app.upstream.secrets.find((secret) => answer.text.includes(secret))
  if (own !== undefined) {
    assert.equal(answer.status, 200)
    assert.equal(answer.text.split(own).length, 2, 'a client secret is in its answer more than once')
  }
  const text = own === undefined ? answer.text : answer.text.replace(own, '')
  const written = [...app.log.kept, ...app.audit.kept].join('')
  for (const secret of secrets) {
    assert.ok(!text.includes(secret), 'a canary in an answer')
    assert.ok(!headers.includes(secret), 'a canary in a header')
    assert.ok(!written.includes(secret), 'a canary in a log or audit line')
  }
}

/** I4. */
export function assertAnswerHeaders ({ headers }: Answer): void {
  assert.equal(headers.get('cache-control'), 'no-store')
  assert.equal(headers.get('x-content-type-options'), 'nosniff')
  assert.match(headers.get('content-type') ?? '', /^application\/json/)
  assert.match(headers.get('x-request-id') ?? '', /^[A-Za-z0-9._-]{1,128}$/)
  assert.match(headers.get('vary') ?? '', /\bOrigin\b/)
  for (const name of ['server', 'x-powered-by', 'set-cookie', 'openai-organization', 'openai-processing-ms']) {
    assert.equal(headers.get(name), null)
  }
}
