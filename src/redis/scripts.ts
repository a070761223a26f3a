// The Lua that runs in Redis, by the name that it is called by.

import { readFileSync } from 'node:fs'

const lua = (...names: string[]) =>
  names.map((name) => readFileSync(new URL(`./scripts/${name}.lua`, import.meta.url), 'utf8')).join('')

export const SCRIPTS = {
  take: lua('window', 'take', 'run-take'),
  checkMarker: lua('calls', 'check-marker'),
  giveBack: lua('window', 'give-back'),
  beginCall: lua('window', 'take', 'calls', 'begin-call'),
  writeCalls: lua('calls', 'write-calls'),
  claimCall: lua('calls', 'claim-call'),
  releaseCall: lua('window', 'calls', 'release-call'),
  lookAtCalls: lua('calls', 'look-at-calls'),
  adoptCalls: lua('calls', 'adopt-calls'),
  postToCalls: lua('calls', 'post-to-calls'),
  handOverCalls: lua('calls', 'hand-over-calls'),
  readCalls: lua('calls', 'read-calls'),
  listCalls: lua('calls', 'list-calls')
}

/** One hash tag for all keys: a script reaches only keys of one slot. */
export const PREFIX = '{ephemint}:'
export const MARKER = `${PREFIX}marker`
