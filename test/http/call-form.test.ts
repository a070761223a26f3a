// The two bodies that ask for a call, read strictly.

import fc from 'fast-check'
import t from 'tap'
import { ApiError } from '../../src/errors.ts'
import type { BodyParser } from '../../src/http/bodies.ts'
import { CALL_BODIES, type CallBody } from '../../src/http/call-form.ts'
import { OFFER } from '../support/sdp.ts'
import { times } from '../support/times.ts'

const [SDP, FORM] = CALL_BODIES as [BodyParser, BodyParser]
const TYPE = 'multipart/form-data; boundary=b-1'
const SESSION = '{"type":"realtime"}'

/** The refusal as `code param`, or the body that was read. */
function outcomeOf (parser: BodyParser, body: string | Uint8Array, contentType: string): CallBody | string {
  try {
    return parser.parse(Buffer.from(body as string), contentType) as CallBody
  } catch (error) {
    if (!(error instanceof ApiError)) throw error
    return `${error.code} ${error.param}`
  }
}

const part = (headers: string, content: string) => `--b-1\r\n${headers}\r\n\r\n${content}\r\n`
const named = (parameters: string, content: string) =>
  part(`Content-Disposition: form-data; ${parameters}`, content)
const sdpPart = named('name="sdp"', OFFER)
const sessionPart = named('name="session"', SESSION)
const END = '--b-1--\r\n'

t.test('call form: parts that are not expected are refused', async (t) => {
  const rows: [name: string, body: string][] = [
    ['another name', sdpPart + named('name="offer"', 'x') + END],
    ['a name in capital letters', named('name="SDP"', OFFER) + END],
    ['an empty name', sdpPart + named('name=""', 'x') + END],
    ['a second offer', sdpPart + sdpPart + END],
    ['a second session', sdpPart + sessionPart + sessionPart + END],
    ['three parts', sdpPart + sessionPart + named('name="x"', 'x') + END],
    ['a file', named('name="sdp"; filename="offer.sdp"', OFFER) + END],
    ['a file of a blob', named('name="sdp"; filename=blob', OFFER) + END],
    ['a session as a file', sdpPart + named('filename="x"; name="session"', SESSION) + END]
  ]
  for (const [name, body] of rows) t.equal(outcomeOf(FORM, body, TYPE), 'invalid_request null', name)
})

t.test('call form: a form that is not well formed is refused', async (t) => {
  const whole = sdpPart + END
  const rows: [name: string, body: string | Uint8Array, type?: string][] = [
    ['nothing', ''],
    ['no form', OFFER],
    ['a form without an end', sdpPart],
    ['an end that is cut', `${sdpPart}--b-1-`],
    ['another boundary', whole, 'multipart/form-data; boundary=b-2'],
    ['no boundary', whole, 'multipart/form-data'],
    ['an empty boundary', whole, 'multipart/form-data; boundary='],
    ['a boundary that is too long', whole, `multipart/form-data; boundary=${'b'.repeat(71)}`],
    ['two boundaries', whole, `${TYPE}; boundary=b-2`],
    ['text before the first part', `x\r\n${whole}`],
    ['text after the end', `${whole}x`],
    ['a boundary that goes on', whole.replace('--b-1\r\n', '--b-1x\r\n')],
    ['line feeds alone', whole.replaceAll('\r\n', '\n')],
    ['a part without headers', `--b-1\r\n\r\n${OFFER}\r\n${END}`],
    ['a part without a blank line', `--b-1\r\nContent-Disposition: form-data; name="sdp"\r\n${END}`],
    ['a part of another disposition', part('Content-Disposition: attachment; name="sdp"', OFFER) + END],
    ['a part without a disposition', part('Content-Type: application/sdp', OFFER) + END],
    ['two dispositions', part(
      'Content-Disposition: form-data; name="x"\r\nContent-Disposition: form-data; name="sdp"', OFFER
    ) + END],
    ['a folded header', part('Content-Disposition: form-data;\r\n name="sdp"', OFFER) + END],
    ['a header without a colon', part('Content-Disposition form-data; name="sdp"', OFFER) + END],
    ['no name', part('Content-Disposition: form-data', OFFER) + END],
    ['two names', named('name="x"; name="sdp"', OFFER) + END],
    ['an encoded file name', named('name="sdp"; filename*=utf-8\'\'x', OFFER) + END],
    ['an unknown parameter', named('name="sdp"; size=1', OFFER) + END],
    ['a name that is not closed', named('name="sdp', OFFER) + END],
    ['something after the name', named('name="sdp" x', OFFER) + END]
  ]
  for (const [name, body, type = TYPE] of rows) t.equal(outcomeOf(FORM, body, type), 'invalid_request null', name)
})

t.test('call form: an offer or a session that cannot be read gets its code', async (t) => {
  const bytes = (text: string) => Buffer.from(text, 'latin1')
  const rows: [name: string, body: string | Uint8Array, refusal: string][] = [
    ['no parts', END, 'invalid_request sdp'],
    ['no offer', sessionPart + END, 'invalid_request sdp'],
    ['an offer that is no UTF-8', bytes(named('name="sdp"', 'v=0\r\ns=\xff') + END), 'invalid_request sdp'],
    [
      'a session that is no UTF-8', bytes(`${sdpPart}${named('name="session"', '{"a":"\xff"}')}${END}`),
      'invalid_json null'
    ],
    ['a session that is no JSON', sdpPart + named('name="session"', '{') + END, 'invalid_json null'],
    ['an empty session', sdpPart + named('name="session"', '') + END, 'invalid_json null'],
    [
      'a session that reaches a prototype', sdpPart + named('name="session"', '{"__proto__":{}}') + END,
      'invalid_request null'
    ],
    ['an offer of more than 64 KiB', named('name="sdp"', 'x'.repeat(64 * 1024 + 1)) + END, 'body_too_large null'],
    [
      'a session of more than 32 KiB', sdpPart + named('name="session"', ' '.repeat(32 * 1024 + 1)) + END,
      'body_too_large null'
    ]
  ]
  for (const [name, body, refusal] of rows) t.equal(outcomeOf(FORM, body, TYPE), refusal, name)
})

t.test('call form: the parts are read as they were sent', async (t) => {
  const rows: [name: string, body: string, type?: string][] = [
    ['in this order', sdpPart + sessionPart + END],
    ['in the other', sessionPart + sdpPart + END],
    [
      'with an empty file name',
      named('name="sdp"; filename=""', OFFER) + named('filename=""; name="session"', SESSION) + END
    ],
    ['without quotation marks', named('name=sdp', OFFER) + sessionPart + END],
    ['with other headers', part(
      'content-type: application/sdp\r\nContent-Length: 7\r\nCONTENT-DISPOSITION:  Form-Data; Name="sdp"  ', OFFER
    ) + sessionPart + END],
    ['without a line break at the end', sdpPart + sessionPart + END.trimEnd()],
    ['with a quoted boundary', sdpPart + sessionPart + END, 'Multipart/Form-Data; Boundary="b-1"'],
    ['with a semicolon behind the boundary', sdpPart + sessionPart + END, `${TYPE};`]
  ]
  for (const [name, body, type = TYPE] of rows) {
    t.same(outcomeOf(FORM, body, type), { sdp: OFFER, session: { type: 'realtime' } }, name)
  }
  t.strictSame(outcomeOf(FORM, sdpPart + END, TYPE), { sdp: OFFER })
  const text = 'v=0\r\ns=\ufeffGröße --b-1\n\r--b-1'
  t.strictSame(outcomeOf(FORM, named('name="sdp"', text) + END, TYPE), { sdp: text })
})

t.test('call form: whatever FormData of Node writes is read as it was meant, or refused as it must be', async (t) => {
  const name = fc.constantFrom('sdp', 'sdp', 'session', 'session', 'SDP', '', 'x"y', 'sdp\r\n')
  const content = fc.oneof(fc.string({ unit: 'binary' }), fc.constantFrom('{"a":[1]}', '{}', OFFER, '--', '\r\n--'))
  const fileName = fc.option(fc.constantFrom('', 'blob', 'ä'))
  const parts = fc.array(fc.record({ name, content, fileName }), { maxLength: 3 })
  await fc.assert(fc.asyncProperty(parts, async (parts) => {
    const form = new FormData()
    for (const { name, content, fileName } of parts) {
      if (fileName === null) form.append(name, content)
      else form.append(name, new File([content], fileName))
    }
    const written = new Response(form)
    const type = written.headers.get('content-type') as string
    const outcome = outcomeOf(FORM, Buffer.from(await written.arrayBuffer()), type)
    const names = parts.map(({ name }) => name)
    const isExpected = names.every((name) => ['sdp', 'session'].includes(name)) &&
      new Set(names).size === names.length && parts.every(({ fileName }) => (fileName ?? '') === '')
    if (!isExpected || !names.includes('sdp')) return /^invalid_request/.test(String(outcome))
    const meant = (wanted: string) => {
      const found = parts.find(({ name }) => name === wanted)
      // FormData writes every line break of a text as CRLF, and of a file as it is.
      return found?.fileName === null ? found.content.replace(/\r\n|\r|\n/g, '\r\n') : found?.content
    }
    const session = meant('session')
    if (typeof outcome === 'string') return session !== undefined && outcome === refusalOfJson(session)
    return outcome.sdp === meant('sdp') && JSON.stringify(outcome.session) === reread(session)
  }), { numRuns: times(200) })
})

t.test('call form: no bytes at all end in anything but a form that Node reads too, or a refusal', async (t) => {
  const whole = Buffer.from(sdpPart + sessionPart + END)
  const change = fc.record({
    at: fc.nat(whole.length),
    drop: fc.nat(6),
    insert: fc.constantFrom('', '\r\n', '"', ';', '--b-1', '\r\n\r\n', 'sdp', '\0')
  })
  await fc.assert(fc.asyncProperty(fc.array(change, { minLength: 1, maxLength: 3 }), async (changes) => {
    const body = changes.reduce((bytes, { at, drop, insert }) =>
      Buffer.concat([bytes.subarray(0, at), Buffer.from(insert), bytes.subarray(at + drop)]), whole)
    const outcome = outcomeOf(FORM, body, TYPE)
    if (typeof outcome === 'string') return true
    // Node finds a boundary also where no line begins, and then gives up.
    const read = await new Response(body, { headers: { 'content-type': TYPE } }).formData().catch(() => null)
    const sdp = read?.get('sdp')
    return read === null || (sdp instanceof File ? await sdp.text() : sdp) === outcome.sdp
  }), { numRuns: times(300) })
})

t.test('B11, B18: an offer alone is UTF-8 of type application/sdp, of 64 KiB at most', async (t) => {
  for (const type of ['application/sdp; charset=latin1', 'application/sdp; x=y', 'application/sdpx']) {
    t.equal(outcomeOf(SDP, OFFER, type), 'unsupported_media_type null', type)
  }
  t.equal(outcomeOf(SDP, Buffer.from('v=0\r\ns=\xff', 'latin1'), 'application/sdp'), 'invalid_request sdp')
  for (const type of ['application/sdp', 'Application/SDP;', 'application/sdp; charset=utf-8']) {
    t.strictSame(outcomeOf(SDP, OFFER, type), { sdp: OFFER }, type)
  }
  t.strictSame(outcomeOf(SDP, `\ufeff${OFFER}`, 'application/sdp'), { sdp: `\ufeff${OFFER}` }, 'nothing is repaired')
  t.same(CALL_BODIES.map(({ type, limitBytes }) => [type, limitBytes]), [
    ['application/sdp', 64 * 1024], ['multipart/form-data', 96 * 1024]
  ])
})

/** The refusal of a text that is not JSON; undefined if it is. */
function refusalOfJson (text: string): string | undefined {
  try {
    JSON.parse(text)
    return undefined
  } catch {
    return 'invalid_json null'
  }
}

function reread (text: string | undefined): string | undefined {
  return text === undefined ? undefined : JSON.stringify(JSON.parse(text))
}
