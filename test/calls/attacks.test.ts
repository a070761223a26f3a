// Attacks on the routes of calls by a caller who has a token of their own, and perhaps another's id.

import { randomBytes } from 'node:crypto'
import fc from 'fast-check'
import t, { type Test } from 'tap'
import { type Answer, CANARIES } from '../support/app.ts'
import { accept } from '../support/call-replies.ts'
import { exchange, type RawAnswer } from '../support/raw-http.ts'
import { AUDIO_ANSWER, AUDIO_OFFER, OFFER } from '../support/sdp.ts'
import { times } from '../support/times.ts'
import { type CallsApp, startCalls } from './harness.ts'

const PATH = '/v1/realtime/calls'
const BOB = { sub: 'bob' }
const ADMIN_TOKEN = 'canary-admin-token-5d0c2a7e9b4f1836'
const NOT_FOUND = '{"error":{"message":"There is nothing at this address.","type":"invalid_request_error",' +
  '"code":"not_found","param":null}}'

type Victim = Readonly<{ app: CallsApp, path: string, id: string, isUntouched: () => Promise<void> }>

/** Begins a call of Bob's, which Ada then attacks. */
async function startVictim (t: Test): Promise<Victim> {
  const app = await startCalls(t, { env: { OPS_PORT: '0', OPS_HOST: '127.0.0.1', ADMIN_TOKEN } })
  const path = (await app.begin({ claims: BOB })).headers.get('location') as string
  return {
    app,
    path,
    id: path.split('/').at(-1) as string,
    isUntouched: async () => {
      t.match((await app.get(path, BOB)).body, { status: 'live', end_reason: null })
      const { creations, hangUps, attaches, calls } = app.upstream
      t.same([creations.length, hangUps.length, attaches.length], [1, 0, 1], 'nothing went upstream')
      t.equal(calls[0]?.received.length, 1, 'but the read at the start')
      t.match((await app.hangUp(path, {}, BOB)).body, { status: 'ended' }, 'its own caller ends it')
    }
  }
}

/** Sends the path unchanged, which no client would do. */
async function ask (app: CallsApp, line: string, credential?: string): Promise<RawAnswer> {
  const authorization = credential ?? `Bearer ${await app.token()}`
  const [answer] = await exchange(app, [
    `${line} HTTP/1.1\r\nhost: x\r\nauthorization: ${authorization}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n`
  ])
  return answer as RawAnswer
}

t.test('H1: ids of others, ids that never were and what is no id at all are one 404, to the byte', async (t) => {
  const { app, id, isUntouched } = await startVictim(t)
  const openai = app.upstream.calls[0]?.id as string
  const ids = [
    id, `rtc_${randomBytes(16).toString('base64url')}`, openai, openai.replace('rtc_', 'sess_'), 'rtc_',
    `RTC_${id.slice(4)}`, id.toUpperCase(), `${id}=`, id.slice(0, -1), `${id}%00`, `${id}%0d%0a`, `${id}%20`,
    `${id}%2f`, `${id}/`, `${id}/..`, `x/../${id}`, '.', '..', '../calls', '../../policy', '%2e%2e', '..%2f',
    `..%2f..%2fcalls%2f${id}`, '%2e%2e%2fclient_secrets', `${id};x`, '__proto__', 'constructor', 'toString', 'null',
    '0', '*', `rtc_${'x'.repeat(10_000)}`, 'x'.repeat(10_000), '../'.repeat(3000), `${id}%2f`.repeat(300)
  ]
  for (const wrong of ids) {
    for (const line of [`GET ${PATH}/${wrong}`, `POST ${PATH}/${wrong}/hangup`]) {
      const { status, text } = await ask(app, line)
      t.same([status, text], [404, NOT_FOUND], line.slice(0, 120))
    }
  }
  t.match(await app.get(PATH), { status: 200, body: { data: [] } })
  await isUntouched()
})

t.test('H1: by headers the call of another looks like none', async (t) => {
  const { app, id, isUntouched } = await startVictim(t)
  const headersOf = async (wrong: string) => {
    const { headers } = await ask(app, `GET ${PATH}/${wrong}`)
    return [...headers].filter(([name]) => !['x-request-id', 'date'].includes(name))
  }
  t.same(await headersOf(id), await headersOf(`rtc_${randomBytes(16).toString('base64url')}`))
  await isUntouched()
})

t.test('H2: no one else hangs a call up: not by its id, an admin token or the key', async (t) => {
  const { app, id, path, isUntouched } = await startVictim(t)
  t.match(await app.hangUp(path), { status: 404, text: NOT_FOUND })
  for (const [claims, status] of [
    [{ sub: 'BOB' }, 404], [{ sub: 'bob', plan: 'free' }, 403], [{ sub: 'bob', iss: 'https://evil.test/' }, 401],
    [{ sub: 'bob', aud: 'other' }, 401]
  ] as const) t.equal((await app.hangUp(path, {}, claims)).status, status, JSON.stringify(claims))
  for (const secret of [ADMIN_TOKEN, CANARIES.OPENAI_API_KEY, CANARIES.TOKEN_SECRET, id, '']) {
    t.match(await ask(app, `POST ${PATH}/${id}/hangup`, `Bearer ${secret}`), { status: 401 }, 'no credential here')
    for (const line of ['GET /calls', 'POST /calls/hangup', `POST /calls/${id}/hangup`]) {
      t.match(await ask(app, line, `Bearer ${secret}`), { status: 404, text: NOT_FOUND }, line)
    }
  }
  t.match(await app.hangUp(`${PATH}/${app.upstream.calls[0]?.id}`, {}, BOB), { status: 404 }, 'nor Bob by OpenAI\'s id')
  await isUntouched()
})

const CHANNEL = 'm=application 9 UDP/DTLS/SCTP webrtc-datachannel'
const offerWith = (line: string) => `${AUDIO_OFFER}${line}\r\n`

/** Posts bytes, which need not be UTF-8. */
async function post (app: CallsApp, body: string | Buffer, type = 'application/sdp'): Promise<Answer> {
  const authorization = `Bearer ${await app.token()}`
  const response = await fetch(app.url + PATH, {
    method: 'POST', body: Buffer.from(body as string), headers: { authorization, 'content-type': type }
  })
  const text = await response.text()
  return { status: response.status, headers: response.headers, text, body: response.ok ? {} : JSON.parse(text) }
}

/** Whether the offer passed; if so, upstream has received the same bytes. */
async function offered (t: Test, app: CallsApp, offer: string | Buffer): Promise<boolean> {
  const { length } = app.upstream.creations
  const answer = await post(app, offer)
  if (answer.status !== 201) {
    t.equal(app.upstream.creations.length, length, 'a refused offer goes nowhere')
    t.match(answer.body, { error: { code: /^(invalid_request|policy_violation)$/, param: 'sdp' } })
    return false
  }
  const got = app.upstream.creations.at(-1)?.parts.sdp?.text ?? ''
  t.ok(Buffer.from(offer as string).equals(Buffer.from(got)), 'as sent')
  await app.hangUp(answer.headers.get('location') as string)
  return true
}

t.test('H3: an offer that two readers could read differently is refused, and goes nowhere', async (t) => {
  const app = await startCalls(t)
  const utf16 = (text: string, bom: boolean) => Buffer.from((bom ? '\ufeff' : '') + text, 'utf16le')
  const withBytes = (...bytes: number[]) =>
    Buffer.concat([Buffer.from(AUDIO_OFFER), Buffer.from(bytes), Buffer.from(`${CHANNEL.slice(1)}\r\n`)])
  const [beforeVoice] = AUDIO_OFFER.split('m=audio')
  const rows: Readonly<Record<string, string | Buffer>> = {
    'a line that ends twice': AUDIO_OFFER.replace('\r\n', '\r\r\n'),
    'a line that ends the other way round': AUDIO_OFFER.replace('\r\n', '\n\r'),
    'a blank line before the voice': AUDIO_OFFER.replace('m=audio', '\r\nm=audio'),
    'a header before the offer': `X: y\r\n\r\n${OFFER}`,
    NUL: OFFER.replace('s=-', 's=\0'),
    'NUL before a line': offerWith(`\0${CHANNEL}`),
    'ten thousand lines': OFFER + 'a=x\r\n'.repeat(10_000),
    'ten thousand blank lines within': OFFER.replace('m=audio', `${'\n'.repeat(10_000)}m=audio`),
    'a folded line': AUDIO_OFFER.replace('s=-', 's=-\r\n m=application 9 UDP/DTLS/SCTP webrtc-datachannel'),
    'a line folded by a tab': AUDIO_OFFER.replace('s=-', `s=-\r\n\t${CHANNEL}`),
    'media in capital letters': offerWith(CHANNEL.toUpperCase()),
    'media in mixed letters': offerWith(CHANNEL.replace('application', 'aPPlication')),
    'a type in a capital letter': offerWith(CHANNEL.replace('m=', 'M=')),
    'a space before the type': offerWith(` ${CHANNEL}`),
    'a space after the type': offerWith(CHANNEL.replace('m=', 'm =')),
    'a space before the media': offerWith(CHANNEL.replace('m=', 'm= ')),
    'two spaces': offerWith(CHANNEL.replace(' 9', '  9')),
    'a quoted media': offerWith(CHANNEL.replace('application', '"application"')),
    'an escaped media': offerWith(CHANNEL.replace('application', '%61pplication')),
    'a full-width letter': offerWith(CHANNEL.replace('m', 'ｍ')),
    'a dotless letter': offerWith(CHANNEL.replaceAll('i', 'ı')),
    'a soft hyphen': offerWith(CHANNEL.replace('application', 'appli\u00adcation')),
    'a voice that is a data channel': `${beforeVoice}${CHANNEL.replace('application', 'audio')}\r\n`,
    'm=audio 0': AUDIO_OFFER.replace('m=audio 9', 'm=audio 0'),
    'm=audio 0, bundle-only': AUDIO_OFFER.replace('m=audio 9', 'm=audio 0') + 'a=bundle-only\r\n',
    'm=audio 00000': AUDIO_OFFER.replace('m=audio 9', 'm=audio 00000'),
    'm=audio 65536, which is 0 in sixteen bits': AUDIO_OFFER.replace('m=audio 9', 'm=audio 65536'),
    'm=audio -9': AUDIO_OFFER.replace('m=audio 9', 'm=audio -9'),
    'm=audio ٩': AUDIO_OFFER.replace('m=audio 9', 'm=audio ٩'),
    'm=audio 0x9': AUDIO_OFFER.replace('m=audio 9', 'm=audio 0x9'),
    'a second voice, bundle-only': `${offerWith('m=audio 0 UDP/TLS/RTP/SAVPF 111')}a=bundle-only\r\n`,
    'two data channels': `${OFFER}${CHANNEL}\r\n`,
    ...Object.fromEntries(['text', 'video', 'image', 'message', '*', ''].flatMap((media) => [9, 0].map((port) =>
      [`m=${media} ${port}`, offerWith(`m=${media} ${port} UDP/TLS/RTP/SAVPF 96`)]))),
    'UTF-16': utf16(OFFER, true),
    'UTF-16 without a mark': utf16(OFFER, false),
    'UTF-16 the other way round': utf16(OFFER, true).swap16(),
    'UTF-16 within UTF-8': Buffer.concat([Buffer.from(AUDIO_OFFER), utf16(`${CHANNEL}\r\n`, false)]),
    'UTF-7': `+${Buffer.from('v=0').toString('base64')}-`,
    'a mark of UTF-8': `\ufeff${OFFER}`,
    'a letter m in two bytes': withBytes(0xc1, 0xad),
    'half a surrogate': withBytes(0xed, 0xa0, 0x80)
  }
  for (const [name, offer] of Object.entries(rows)) t.equal(await offered(t, app, offer), false, name)
  for (const offer of [`${OFFER}a=${'x'.repeat(1024 * 1024)}\r\n`, OFFER + 'a=x\r\n'.repeat(20_000)]) {
    t.match(await post(app, offer), { status: 413 }, 'a line of 1 MB')
  }
  for (const charset of ['utf-16', 'utf-16le', 'ucs-2', 'latin1', 'utf-7']) {
    t.match(await post(app, OFFER, `application/sdp; charset=${charset}`), { status: 415 }, charset)
  }
  t.equal(app.upstream.creations.length, 0)
})

t.test('H3: audio only, a data channel is refused in every spelling', async (t) => {
  const app = await startCalls(t, { calls: '{ data_channel: false }' })
  const lines = [
    CHANNEL, CHANNEL.replace(' 9', ' 0'), CHANNEL.replace(' 9', ' 9/2'), `${CHANNEL}\r\na=bundle-only`,
    CHANNEL.replace('UDP/DTLS/SCTP webrtc-datachannel', 'DTLS/SCTP 5000'), 'm=application 9',
    CHANNEL.replace('m=', 'M='),
    `a=x\r${CHANNEL}`, `a=x\n${CHANNEL}`, `a=x\u2028${CHANNEL}`, `a=x\x85${CHANNEL}`, `a=x\v${CHANNEL}`
  ]
  for (const line of lines) t.equal(await offered(t, app, offerWith(line)), false, encodeURI(line))
  t.equal(await offered(t, app, OFFER), false)
  t.equal(app.upstream.creations.length, 0)
  t.equal(await offered(t, app, AUDIO_OFFER), true)
})

t.test('H3: whatever passes, upstream sees the bytes that were checked', async (t) => {
  const app = await startCalls(t, { calls: '{ data_channel: false }', limits: '{ minute: 100000 }' })
  app.upstream.onCreate(accept({ answer: AUDIO_ANSWER }))
  const piece = fc.constantFrom(
    '\r', '\n', '\r\n', '\0', ' ', '\t', '\u2028', 'm=', 'a=', CHANNEL, 'm=audio 0', 'ä', '\ufeff', '--', '\r\n\r\n'
  )
  const change = fc.record({ at: fc.nat(AUDIO_OFFER.length), drop: fc.nat(3), insert: piece })
  let passed = 0
  await fc.assert(fc.asyncProperty(fc.array(change, { maxLength: 3 }), async (changes) => {
    const offer = changes.reduce((text, { at, drop, insert }) =>
      text.slice(0, at) + insert + text.slice(at + drop), AUDIO_OFFER)
    if (!await offered(t, app, offer)) return
    passed++
    // eslint-disable-next-line no-control-regex
    const media = offer.split(/[\r\n\v\f\x1c-\x1e\x85\u2028\u2029\0]/).filter((line) => /^\s*m\s*=/i.test(line))
    t.equal(media.length, 1, 'one voice for any reader of lines')
  }), { numRuns: times(150) })
  t.ok(passed > 0)
})

const FORM = 'multipart/form-data; boundary=b-1'
const END = '--b-1--\r\n'
const part = (name: string, content: string, headers = '') =>
  `--b-1\r\nContent-Disposition: form-data; name="${name}"${headers}\r\n\r\n${content}\r\n`
const [SDP_PART, SESSION] = [part('sdp', OFFER), '{"type":"realtime"}']

t.test('H4: a form that says anything twice, hides a part or is read in two ways is 400', async (t) => {
  const app = await startCalls(t)
  const nested = `--b-2\r\nContent-Disposition: form-data; name="sdp"\r\n\r\n${OFFER}\r\n--b-2--`
  const rows: Readonly<Record<string, string | readonly [body: string, type: string]>> = {
    'two sdp': SDP_PART + part('sdp', AUDIO_OFFER),
    'two session': SDP_PART + part('session', SESSION) + part('session', '{}'),
    'sdp in other letters': SDP_PART + part('Sdp', OFFER),
    'a list': SDP_PART + part('session[]', SESSION),
    'a field of the session': SDP_PART + part('session[model]', 'gpt-realtime'),
    'a third part': SDP_PART + part('session', SESSION) + part('call_id', 'rtc_u2_000001'),
    'session as a file': SDP_PART + part('session', SESSION, '; filename="session.json"'),
    'session as an encoded file': SDP_PART + part('session', SESSION, "; filename*=utf-8''session.json"),
    'sdp as a file': part('sdp', OFFER, '; filename=offer'),
    'a form within': SDP_PART + part('session', nested, '\r\nContent-Type: multipart/mixed; boundary=b-2'),
    'a form instead of the offer': part('sdp', nested, '\r\nContent-Type: multipart/form-data; boundary=b-2'),
    'an offer that calls itself a form': part('sdp', OFFER, '\r\nContent-Type: multipart/mixed; boundary=b-2'),
    'an offer that calls itself a message': part('sdp', OFFER, '\r\nContent-Type: message/rfc822'),
    'an offer in another charset': part('sdp', OFFER, '\r\nContent-Type: application/sdp; charset=utf-16'),
    'a session in another charset': SDP_PART +
      part('session', SESSION, '\r\nContent-Type: application/json; charset=latin1'),
    'a charset by a field': SDP_PART + part('_charset_', 'utf-16'),
    'a charset of the form': [SDP_PART, `${FORM}; charset=utf-16`],
    'an encoded part': part('sdp', Buffer.from(OFFER).toString('base64'), '\r\nContent-Transfer-Encoding: base64'),
    'an offer that calls itself encoded': part('sdp', OFFER, '\r\nContent-Transfer-Encoding: quoted-printable'),
    'a boundary inside the offer': part('sdp', OFFER.replace('s=-', 's=-\r\n--b-1')),
    'a boundary with more behind it': part('sdp', OFFER.replace('s=-', 's=-\r\n--b-1x')),
    'a boundary with spaces behind it': SDP_PART.replace('--b-1\r\n', '--b-1 \t\r\n'),
    'an end inside the offer': part('sdp', OFFER.replace('s=-', 's=-\r\n--b-1--')),
    'a boundary after a lone LF': part('sdp', OFFER.replace('s=-', 's=-\n--b-1')),
    'a preamble of 90 KB': `${'x'.repeat(90_000)}\r\n${SDP_PART}`,
    'a preamble of 90 KB of line breaks': `${'\r\n'.repeat(45_000)}${SDP_PART}`,
    'a preamble that is a part': part('session', SESSION).replace('--b-1', '--b-2') + SDP_PART,
    'a __proto__': SDP_PART + part('session', '{"type":"realtime","__proto__":{"model":"x"}}'),
    'an escaped __proto__': SDP_PART + part('session', String.raw`{"\u005f_proto__":{"model":"x"}}`),
    'a __proto__ further in': SDP_PART + part('session', '{"audio":{"output":{"__proto__":{"voice":"marin"}}}}'),
    'constructor.prototype': SDP_PART + part('session', '{"constructor":{"prototype":{"model":"x"}}}'),
    'a part named __proto__': SDP_PART + part('__proto__', '{}'),
    'a deep session': SDP_PART + part('session', '{"a":'.repeat(5000) + '1' + '}'.repeat(5000)),
    'an array': SDP_PART + part('session', '[]'),
    null: SDP_PART + part('session', 'null'),
    'a string': SDP_PART + part('session', '"{}"'),
    'a number': SDP_PART + part('session', '1e999'),
    nothing: SDP_PART + part('session', ''),
    'a mark of UTF-8': SDP_PART + part('session', `\ufeff${SESSION}`),
    'a lone surrogate': SDP_PART + part('session', String.raw`{"instructions":"\ud800"}`),
    'NUL in a text': SDP_PART + part('session', String.raw`{"instructions":"\u0000"}`),
    'two values': SDP_PART + part('session', '{}{}'),
    'a comment': SDP_PART + part('session', '{/**/}')
  }
  for (const [name, row] of Object.entries(rows)) {
    const [body, type] = typeof row === 'string' ? [row, FORM] : row
    t.match(await post(app, body + END, type), { status: 400 }, name)
  }
  t.match(await post(app, `${SDP_PART}${END}${'x'.repeat(90_000)}`, FORM), { status: 400 }, 'an epilogue of 90 KB')
  t.match(await post(app, `${'x'.repeat(100_000)}${SDP_PART}${END}`, FORM), { status: 413 }, 'a preamble of 100 KB')
  t.equal(app.upstream.creations.length, 0)
})

t.test('H4: the session of a form is checked as that of a mint: 403 with its path', async (t) => {
  const app = await startCalls(t)
  for (const [session, param] of [
    ['{"model":"gpt-realtime-2.1","model":"gpt-other"}', 'session.model'],
    ['{"tools":[{"type":"mcp"}]}', 'session.tools'],
    ['{"expires_after":{}}', 'session.expires_after'], ['{"session":{}}', 'session.session'],
    ['{"toString":1}', 'session.toString']
  ] as const) {
    const { status, body } = await post(app, SDP_PART + part('session', session) + END, FORM)
    t.match([status, body], [/40[03]/, { error: { param } }], session)
  }
  t.equal(app.upstream.creations.length, 0)
})

t.test('H4: white space of 90 KB anywhere is refused at once: no one else waits', async (t) => {
  const app = await startCalls(t)
  const space = ' '.repeat(90_000)
  const rows: readonly (readonly [body: string, type: string])[] = [
    [part('sdp', OFFER, `${space}x`) + END, FORM],
    [`--b-1\r\nContent-Disposition: form-data${space}x\r\n\r\n${OFFER}\r\n${END}`, FORM],
    [`--b-1\r\nContent-Disposition: x${space}y\r\n\r\n${OFFER}\r\n${END}`, FORM],
    [`--b-1\r\nX:${space}\r\r\n\r\n${OFFER}\r\n${END}`, FORM],
    [part('sdp', OFFER, `\r\nContent-Type: a/b${space}x`) + END, FORM],
    [part('sdp', OFFER, `\r\nContent-Transfer-Encoding:${space}x`) + END, FORM],
    [part('sdp', OFFER, '; name=x'.repeat(9000)) + END, FORM],
    ['\r\n--b-1'.repeat(12_000), FORM],
    ['', `${FORM}${' '.repeat(14_000)}x`],
    [OFFER, `application/sdp;${' '.repeat(14_000)}x`],
    [OFFER, `application/sdp; charset=utf-8${' '.repeat(14_000)}x`]
  ]
  for (const [body, type] of rows) {
    const startedAt = performance.now()
    const { status } = await post(app, body, type)
    const tookMs = performance.now() - startedAt
    t.ok([400, 415].includes(status) && tookMs < 500, `${status} after ${tookMs} ms: ${body.slice(0, 90)}`)
  }
  t.equal(app.upstream.creations.length, 0)
})
