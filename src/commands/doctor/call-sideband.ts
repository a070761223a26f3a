// The sideband of the doctor's call, whose events are waited for one by one.

import type { Config } from '../../config/environment.ts'
import type { JsonObject } from '../../json.ts'
import { REALTIME_CALLS } from '../../realtime/call-protocol.ts'
import type { Upstream } from '../../service.ts'
import type { CreatedCall } from '../../upstream/calls.ts'
import type { Closing } from '../../upstream/sideband.ts'
import type { Finding } from './finding.ts'
import { type Inbox, openInbox } from './inbox.ts'
import type { Peer } from './peer.ts'

export type CallTrial = Readonly<{
  config: Pick<Config, 'upstream' | 'safetyIdentifierSecret'>
  upstream: Pick<Upstream, 'client' | 'calls' | 'dial' | 'loadSidebands'>
  peer: Peer
  session: JsonObject
  /** The policy that grants the session, for messages. */
  by: string
  report: (finding: Finding) => void
  /** How long an event is waited for. */
  waitMs: number
  /** Waits between two tries. */
  pause: (ms: number) => Promise<unknown>
}>

export type OpenSideband = Readonly<{
  inbox: Inbox
  send: (event: JsonObject) => void
  close: () => void
  closed: Promise<Closing>
}>

export const CALL_SUBJECT = 'call'

/** Resolves to the open sideband, or to the reason why it did not open. */
export function openSideband (
  { upstream }: Pick<CallTrial, 'upstream'>, { id, key }: CreatedCall
): Promise<OpenSideband | Closing> {
  const inbox = openInbox()
  const { promise: closed, resolve: close } = Promise.withResolvers<Closing>()
  return new Promise((resolve) => {
    const sideband = upstream.dial(REALTIME_CALLS.sidebandPath(id), key, {
      onOpen: () => resolve({ inbox, send: sideband.send, close: sideband.close, closed }),
      onEvent: (_type, body) => inbox.put(body()),
      onClose: (closing) => {
        close(closing)
        resolve(closing)
      }
    })
  })
}
