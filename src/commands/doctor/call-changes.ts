// Changes that a client can make by its data channel, and which of them the sideband sees and corrects.

import { getIn, isObject, type Json, type JsonObject } from '../../json.ts'
import { TURN_DETECTION } from '../../policy/compile.ts'
import { REALTIME_CALLS } from '../../realtime/call-protocol.ts'
import { CALL_SUBJECT, type CallTrial, type OpenSideband } from './call-sideband.ts'
import { note, ok, wrong } from './finding.ts'

const CHANGED = 'Changed by the client of ephemint-doctor.'
const JOIN_TIMES = 2
const SILENCE_MS = 730

type IsMet = (session: JsonObject) => boolean
type Trial = CallTrial & Readonly<{ sideband: OpenSideband, newEventId: () => string }>

export async function tryChanges (call: CallTrial, sideband: OpenSideband, answer: string): Promise<void> {
  const { peer, report, session, waitMs } = call
  let events = 0
  const trial: Trial = { ...call, sideband, newEventId: () => `doctor_${++events}` }
  const alone = await update(trial, {})
  const instructions = session.instructions ?? alone?.instructions ?? ''
  const before = await read(trial, { instructions })
  if (before === null) {
    report(wrong(
      CALL_SUBJECT, 'a session.update of the sideband is not answered',
      'the service refuses calls that it cannot read: check upstream\'s status page'
    ))
    return
  }
  report(alone !== null
    ? ok(CALL_SUBJECT, 'a session.update of its type alone is answered with the whole session')
    : note(
      CALL_SUBJECT, 'a session.update of its type alone is not answered',
      'where there are calls, fix max_output_tokens, output_modalities, tool_choice or instructions'
    ))
  if (!await peer.join(answer, JOIN_TIMES * waitMs)) {
    report(note(
      CALL_SUBJECT, 'no media connect from this machine: what a client may change was not tried',
      'let UDP out to OpenAI, which no proxy carries; or run this where it can get out'
    ))
    return
  }
  report(ok(CALL_SUBJECT, 'media and data channel connect'))
  if (!await tryMirror(trial, before)) return
  await tryRestore(trial, instructions)
  await tryNested(trial, before)
}

function isSession (event: JsonObject): event is JsonObject & { session: JsonObject } {
  return event.type === 'session.updated' && isObject(event.session)
}

/** Sends an update by the sideband and waits for a session that meets it; null where none comes, or an error. */
async function update (
  { sideband, newEventId, waitMs }: Trial, session: JsonObject, isMet: IsMet = () => true
): Promise<JsonObject | null> {
  const id = newEventId()
  sideband.send({ type: 'session.update', event_id: id, session: { type: 'realtime', ...session } })
  const event = await sideband.inbox.next((one) =>
    getIn(one, ['error', 'event_id']) === id || (isSession(one) && isMet(one.session)), waitMs)
  sideband.inbox.clear()
  return event !== null && isSession(event) ? event.session : null
}

/** Reads the session as the service does. */
function read (trial: Trial, fixed: JsonObject, isMet?: IsMet): Promise<JsonObject | null> {
  return update(trial, REALTIME_CALLS.readEvent('', fixed).session as JsonObject, isMet)
}

/** Sends an update by the data channel, where updates by the sideband are reported too: `isMet` tells them apart. */
async function updateAsClient (
  { peer, newEventId, waitMs }: Trial, session: JsonObject, isMet: IsMet
): Promise<JsonObject | null> {
  peer.inbox.clear()
  peer.send({ type: 'session.update', event_id: newEventId(), session: { type: 'realtime', ...session } })
  const event = await peer.inbox.next((one) => one.type === 'error' || (isSession(one) && isMet(one.session)), waitMs)
  return event !== null && isSession(event) ? event.session : null
}

/** Tries whether the sideband sees a change by the client. False if upstream refuses the change. */
async function tryMirror (trial: Trial, before: JsonObject): Promise<boolean> {
  const { sideband, report, waitMs } = trial
  const isChanged: IsMet = ({ instructions }) => instructions === CHANGED
  if (await updateAsClient(trial, { instructions: CHANGED }, isChanged) === null) {
    report(note(CALL_SUBJECT, 'a session.update of the client is refused', 'what else it may change was not tried'))
    return false
  }
  if (await sideband.inbox.next((event) => isSession(event) && isChanged(event.session), waitMs) !== null) {
    report(ok(CALL_SUBJECT, 'a session.update of the client is reported to the sideband'))
    return true
  }
  const { output_modalities: modalities } = before
  report(await read(trial, modalities === undefined ? {} : { output_modalities: modalities }, isChanged) !== null
    ? note(
      CALL_SUBJECT, 'a session.update of the client is not reported to the sideband, and a read shows it',
      'a change may last until the next read, 20 s; set data_channel: false where that is too long'
    )
    : wrong(
      CALL_SUBJECT, 'a session.update of the client is not reported to the sideband, and no read shows it',
      'set data_channel: false: changes cannot be seen here'
    ))
  return true
}

async function tryRestore (trial: Trial, instructions: Json): Promise<void> {
  const restored = await update(trial, { instructions }, (session) => (session.instructions ?? '') === instructions)
  trial.report(restored !== null
    ? ok(CALL_SUBJECT, 'a change is restored by the sideband')
    : wrong(CALL_SUBJECT, 'a change is not restored by the sideband', 'set on_change: end, or data_channel: false'))
}

async function tryNested (trial: Trial, before: JsonObject): Promise<void> {
  const change = (threshold: number, more: JsonObject) => updateAsClient(
    trial,
    { audio: { input: { turn_detection: { type: 'server_vad', threshold, ...more } } } },
    (session) => getIn(session, [...TURN_DETECTION, 'threshold']) === threshold
  )
  await change(0.6, { silence_duration_ms: SILENCE_MS })
  const after = await change(0.7, {})
  if (after === null) {
    trial.report(
      note(CALL_SUBJECT, 'a change of turn_detection is refused', 'whether objects are merged was not tried')
    )
    return
  }
  const isMerged = getIn(after, [...TURN_DETECTION, 'silence_duration_ms']) === SILENCE_MS
  trial.report(ok(CALL_SUBJECT, `a change of turn_detection ${isMerged ? 'is merged into it' : 'replaces it whole'}`))
  const output = (session: JsonObject) => JSON.stringify(getIn(session, ['audio', 'output']) ?? null)
  trial.report(output(after) === output(before)
    ? ok(CALL_SUBJECT, 'a change of audio.input leaves audio.output as it is')
    : wrong(
      CALL_SUBJECT, 'a change of audio.input resets audio.output',
      'set data_channel: false: what is restored there is too little'
    ))
}
