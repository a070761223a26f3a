// The doctor's call: against the emulator over real WebRTC, and against servers that do what OpenAI may do.

import t, { type Test } from 'tap'
import { createKeySets } from '../../../src/callers/jwks.ts'
import { systemClock } from '../../../src/clock.ts'
import { silentLog } from '../../../src/commands/command.ts'
import { makeCall } from '../../../src/commands/doctor/call.ts'
import type { Finding } from '../../../src/commands/doctor/finding.ts'
import { openInbox } from '../../../src/commands/doctor/inbox.ts'
import { openPeer, type Peer } from '../../../src/commands/doctor/peer.ts'
import { policyEnvironment, readConfig } from '../../../src/config/environment.ts'
import { isObject, type JsonObject } from '../../../src/json.ts'
import type { Policies } from '../../../src/policy/policy.ts'
import { readRulebook } from '../../../src/rulebook/rulebook.ts'
import type { Quirks } from '../../../src/sandbox/openai/calls.ts'
import { startUpstream } from '../../../src/sandbox/openai/upstream.ts'
import { openUpstream } from '../../../src/service.ts'
import { errorEvent } from '../../support/call-events.ts'
import { accept, confirm, gone, notFound, open, refusing, silent } from '../../support/call-replies.ts'
import { type Attach, type CallsUpstream, startCallsUpstream } from '../../support/calls-upstream.ts'
import { OFFER } from '../../support/sdp.ts'
import { failure, json, reset } from '../../support/upstream.ts'
import type { Call } from '../../support/upstream-call.ts'

const KEY = 'sk-canary-doctor-0123456789'
const CALLERS = 'callers: [{ jwt: { issuer: \'https://auth.test/\', audience: voice } }]\n'
const POLICY = `${CALLERS}
policies:
  - name: secrets
    when: any
    limits: none
    realtime: { fixed: { model: gpt-realtime-2.1 } }
  - name: open
    when: any
    limits: none
    realtime: { fixed: { model: gpt-realtime-2.1-mini, instructions: canary of the policy }, calls: {} }
`

function policiesOf (text: string): Policies {
  const { rulebook } = readRulebook(
    text, { ...policyEnvironment({}, './x'), log: silentLog, keySets: createKeySets({ log: silentLog }) }
  )
  return rulebook?.policies as Policies
}

type Options = Readonly<{
  env?: Record<string, string>, policy?: string, findPeer?: typeof openPeer, waitMs?: number
}>

async function callAt (t: Test, url: string, { env = {}, policy = POLICY, waitMs = 200, findPeer }: Options = {}) {
  const config = readConfig({ OPENAI_API_KEY: KEY, OPENAI_BASE_URL: url, UPSTREAM_TIMEOUT_MS: '2000', ...env })
  const upstream = openUpstream(config, { log: silentLog, clock: systemClock })
  const found: Finding[] = []
  await makeCall({
    config,
    upstream,
    policies: policiesOf(policy),
    report: (finding) => { found.push(finding) },
    waitMs,
    pause: async () => {},
    ...findPeer === undefined ? {} : { findPeer }
  })
  await upstream.close()
  t.notMatch(JSON.stringify(found), 'canary', 'no secret and no instructions')
  t.ok(found.every(({ subject }) => subject === 'call'))
  return found
}

/** The findings that are not ok and have advice. */
const bad = (found: readonly Finding[]) => found.filter(({ state, advice }) => state !== 'ok' && advice !== undefined)

async function callEmulator (t: Test, quirks: Quirks, options: Options = {}): Promise<Finding[]> {
  const logged: string[] = []
  const upstream = await startUpstream({ apiKey: KEY, quirks, log: (line) => logged.push(line) })
  t.teardown(upstream.close)
  const found = await callAt(t, upstream.url, options)
  const created = logged.filter((line) => /calls 201$/.test(line)).length
  t.equal(logged.filter((line) => line.endsWith(' ended')).length, created, 'what it has created is over')
  return found
}

const END = [
  'goes on when its sideband closes, and another one attaches', 'is hung up: 200; its sideband closes with 1000',
  'a second hang-up is answered with 404 call_id_not_found',
  'no sideband attaches to one that has ended, by which the service sees it'
]
const CHANGES = [
  'a change is restored by the sideband', 'a change of turn_detection replaces it whole',
  'a change of audio.input leaves audio.output as it is'
]

t.test('call: doctor: says first that it costs, then what the emulator does, and ends its call', async (t) => {
  const found = await callEmulator(t, {}, { waitMs: 3000 })
  t.same(found.map(({ message }) => message), [
    'a real one is made now, of some seconds: it costs a few cents',
    'the key creates one, with a session by policy open',
    'the key attaches a sideband',
    'a session.update of its type alone is answered with the whole session',
    'media and data channel connect',
    'a session.update of the client is reported to the sideband',
    ...CHANGES,
    ...END
  ])
  t.same(bad(found), [])
})

t.test('call: doctor: an update of the client that is not reported to the sideband is found by a read', async (t) => {
  const found = await callEmulator(t, { mirrorsUpdates: false }, { waitMs: 1000 })
  t.match(bad(found), [{ state: 'note', message: /not reported to the sideband, and a read shows it/, advice: /20 s/ }])
  t.equal(bad(found).length, 1)
  t.same(found.map(({ message }) => message).slice(-7), [...CHANGES, ...END])
})

t.test('call: doctor: a key that is refused where calls are created, and a client secret instead', async (t) => {
  const found = await callEmulator(t, { refusesKeyAtCalls: true })
  t.match(bad(found), [
    { state: 'wrong', message: 'was not created: upstream_rejected (upstream_401)', advice: /OPENAI_CALLS_API=secret/ }
  ])
  t.equal(found.length, 2)
  const bySecret = await callEmulator(t, { refusesKeyAtCalls: true }, {
    env: { OPENAI_CALLS_API: 'secret' }, waitMs: 3000
  })
  t.same(bad(bySecret), [])
  t.match(bySecret[1]?.message, 'a client secret creates one')
})

t.test('call: doctor: a sideband that attaches late, and one that never does', async (t) => {
  const late = await callEmulator(t, { refusedAttaches: 2 }, { waitMs: 3000 })
  t.match(late[2], { state: 'ok', message: 'the key attaches a sideband, after it was not found 2 times' })
  const never = await callEmulator(t, { refusedAttaches: 99 })
  t.match(bad(never), [{ state: 'wrong', message: 'no sideband attaches: the call is not found', advice: /key/ }])
  t.match(never.at(-1), { state: 'ok', message: 'a second hang-up is answered with 404 call_id_not_found' })
})

t.test('call: doctor: without the WebRTC library nothing is created, and it says how to get it', async (t) => {
  const upstream = await startCallsUpstream(t)
  const findPeer = () => openPeer(true, async () => { throw new Error('Cannot find package') })
  t.match(await callAt(t, upstream.url, { findPeer }), [
    { state: 'wrong', message: /werift.*is not installed/, advice: /npm ci && npm run doctor -- --call/ }
  ])
  t.equal(upstream.creations.length, 0)
})

t.test('call: doctor: the peer of a call with an upstream elsewhere asks no other server', async (t) => {
  const peer = await openPeer(false) as Peer
  t.match(peer.offer, /^v=0[^]*m=audio [^]*m=application /)
  t.notMatch(peer.offer, 'srflx')
  t.equal(await peer.join('no answer', 1000), false)
  await peer.close()
})

type OnClient = (event: JsonObject, call: Call, tell: (event: JsonObject) => void) => void

const takes: OnClient = ({ session }, call, tell) => {
  call.change(session as JsonObject)
  tell({ type: 'session.updated', session: call.session() })
}

/** A call whose client is the test's: no media. */
async function callScripted (
  t: Test, upstream: CallsUpstream, { onClient = takes, joins = true, policy = POLICY }: {
    onClient?: OnClient, joins?: boolean, policy?: string
  } = {}
): Promise<Finding[]> {
  const inbox = openInbox()
  const peer: Peer = {
    offer: OFFER,
    join: async () => joins,
    send: (event) => onClient(event as JsonObject, upstream.calls[0] as Call, (event) => { inbox.put(event) }),
    inbox,
    close: async () => {}
  }
  const found = await callAt(t, upstream.url, { findPeer: async () => peer, policy })
  return found
}

t.test('call: doctor: a creation that fails says why, and nothing else is tried', async (t) => {
  for (const [reply, message, advice] of [
    [failure(404), /upstream_rejected \(upstream_404\)/, /has no calls/],
    [
      failure(400, 'invalid_value', { param: 'session.model' }), /upstream_rejected \(upstream_400\)/,
      /remove from the policy/
    ],
    [failure(500), /upstream_error \(upstream_500\)/, /status page/],
    [json(200, {}), /unusable_answer.*if there is one, it goes on until OpenAI ends it/, /status page/]
  ] as const) {
    const upstream = await startCallsUpstream(t)
    upstream.onCreate(reply)
    const found = await callScripted(t, upstream)
    t.match(bad(found), [{ state: 'wrong', message, advice }])
    t.equal(found.length, 2)
    t.equal(upstream.creations.length, 1)
  }
})

t.test('call: doctor: a call whose answer cannot be used is hung up', async (t) => {
  const upstream = await startCallsUpstream(t)
  upstream.onCreate(accept({ answer: 'no SDP' }))
  const found = await callScripted(t, upstream)
  t.match(bad(found), [{ message: /unusable_answer/ }])
  t.equal(upstream.live(), 0)
})

t.test('call: doctor: without a policy that has calls, a session with only a model is tried', async (t) => {
  const upstream = await startCallsUpstream(t)
  const found = await callScripted(t, upstream, { policy: POLICY.replace(', calls: {}', '') })
  t.match(found[1]?.message, 'with only a model, since no policy has calls without claims,')
  t.same(upstream.creations[0]?.body, { type: 'realtime', model: 'gpt-realtime-2.1' })
})

const answering = (answers: (event: JsonObject, call: Call) => boolean) => ({ call, accept }: Attach) => {
  call?.on('session.update', (event) => {
    if (answers(event, call)) call.change(event.session as JsonObject)
  })
  accept()
}
const says = (name: string, { session }: JsonObject) => isObject(session) && Object.hasOwn(session, name)

for (const [name, script, expected] of [
  ['no sideband attaches for another reason', (upstream) => upstream.onAttach(refusing(500)),
    { state: 'wrong', message: 'no sideband attaches: the connection fails (refused_500)' }],
  ['nothing is answered', (upstream) => upstream.onAttach(silent, open),
    { state: 'wrong', message: 'a session.update of the sideband is not answered' }],
  ['an update of its type alone is not answered',
    (upstream) => upstream.onAttach(answering((event) => Object.keys(event.session as object).length > 1), open),
    { state: 'note', message: 'a session.update of its type alone is not answered', advice: /^where there are calls/ }],
  ['a change is not restored', (upstream) => upstream.onAttach(answering((event, call) =>
    !says('instructions', event) || call.session().instructions === 'canary of the policy'), open),
  { state: 'wrong', message: 'a change is not restored by the sideband', advice: /on_change: end/ }],
  ['no other sideband attaches', (upstream) => upstream.onAttach(open, notFound),
    { state: 'wrong', message: 'no other sideband attaches when the first one has closed' }],
  ['the key cannot hang up', (upstream) => upstream.onHangUp(failure(403, 'forbidden')),
    { state: 'wrong', message: /^rtc_\S+ cannot be hung up: 403 forbidden; it goes on until OpenAI ends it/ }],
  ['a hang-up is not answered', (upstream) => upstream.onHangUp(reset()),
    { state: 'wrong', message: /cannot be hung up: \w+; it goes on/ }],
  ['a second hang-up is refused', (upstream) => upstream.onHangUp(confirm, failure(409)),
    { state: 'note', message: /^a second hang-up is answered with 409/ }],
  ['a sideband attaches to a call that is over', (upstream) => upstream.onAttach(({ accept }) => { accept() }),
    { state: 'note', message: 'that it has ended is not reported to a sideband that attaches', advice: /idle_seconds/ }]
] as readonly (readonly [string, (upstream: CallsUpstream) => void, object])[]) {
  t.test(`call: doctor: it says so where ${name}`, async (t) => {
    const upstream = await startCallsUpstream(t)
    script(upstream)
    const found = bad(await callScripted(t, upstream))
    t.match(found, [expected])
    t.equal(found.length, 1)
    t.ok(upstream.hangUps.length > 0, 'it is hung up, or was tried to be')
  })
}

for (const [name, onClient, expected] of [
  ['the client may change nothing', (_event, _call, tell) => tell(errorEvent('not_allowed')),
    { state: 'note', message: 'a session.update of the client is refused' }],
  ['a change is neither reported nor read', ({ session }, call, tell) => {
    const event = { session } as JsonObject
    if (says('audio', event)) takes(event, call, tell)
    else tell({ type: 'session.updated', session: { ...call.session(), ...session as JsonObject } })
  }, { state: 'wrong', message: /not reported to the sideband, and no read shows it/, advice: /data_channel: false/ }],
  ['turn detection cannot be changed', (event, call, tell) =>
    says('audio', event) ? tell(errorEvent('not_allowed')) : takes(event, call, tell),
  { state: 'note', message: 'a change of turn_detection is refused' }],
  ['audio is replaced whole', (event, call, tell) => {
    takes(event, call, () => {})
    tell({ type: 'session.updated', session: { ...call.session(), ...event.session as JsonObject } })
  }, { state: 'wrong', message: 'a change of audio.input resets audio.output' }]
] as readonly (readonly [string, OnClient, object])[]) {
  t.test(`call: doctor: it says so where ${name}`, async (t) => {
    const found = bad(await callScripted(t, await startCallsUpstream(t), { onClient }))
    t.match(found, [expected])
    t.equal(found.length, 1, JSON.stringify(found))
  })
}

t.test('call: doctor: objects that are merged, media that do not connect, other answers to the end', async (t) => {
  let detection = {}
  const merging: OnClient = (event, call, tell) => {
    takes(event, call, () => {})
    const asked = (event.session as any).audio?.input?.turn_detection ?? {}
    const session: any = structuredClone(call.session())
    session.audio.input.turn_detection = detection = { ...detection, ...asked }
    tell({ type: 'session.updated', session })
  }
  const merged = await callScripted(t, await startCallsUpstream(t), { onClient: merging })
  t.same(bad(merged), [])
  t.ok(merged.some(({ message }) => message === 'a change of turn_detection is merged into it'))

  const upstream = await startCallsUpstream(t)
  upstream.onHangUp(failure(500), gone(400), gone(400))
  const deaf = await callScripted(t, upstream, { joins: false })
  t.match(bad(deaf), [{ state: 'note', message: /no media connect from this machine/, advice: /UDP/ }])
  t.match(deaf.map(({ message }) => message).slice(-3), [
    /^is hung up: 400 call_id_not_found; its sideband closes with 1000$/,
    'a second hang-up is answered with 400 call_id_not_found', /^no sideband attaches/
  ])
})

t.test('call: doctor: a session of few members is compared as it is reported', async (t) => {
  const upstream = await startCallsUpstream(t)
  let session: JsonObject = {}
  const changed = (event: JsonObject) => {
    session = { ...session, ...event.session as JsonObject }
    const { instructions, ...others } = session
    return { type: 'session.updated', session: instructions === '' ? others : session }
  }
  upstream.onAttach(({ call, accept }) => {
    call?.on('session.update', (event) => {
      call.pushRaw('{"type":"response.done"')
      call.push(changed(event))
    })
    accept()
  }, open)
  const found = await callScripted(t, upstream, {
    policy: POLICY.replace(', calls: {}', ''), onClient: (event, _call, tell) => tell(changed(event))
  })
  t.match(bad(found), [{ message: /not reported to the sideband, and a read shows it/ }])
  t.same(found.map(({ message }) => message).slice(-7), [...CHANGES, ...END])
})

t.test('call: doctor: a sideband that stays open after the hang-up, or breaks', async (t) => {
  for (const [end, closes] of [
    [(call?: Call) => call?.end(null), 'its sideband stays open'],
    [(call?: Call) => { call?.end(null); call?.drop() }, 'its sideband closes with 1006']
  ] as const) {
    const upstream = await startCallsUpstream(t)
    upstream.onHangUp(({ call }, response) => {
      end(call)
      response.writeHead(200).end()
    }, gone(404))
    const found = await callScripted(t, upstream)
    t.ok(found.some(({ message }) => message === `is hung up: 200; ${closes}`), closes)
  }
})
