// The destination of log and audit lines in tests: keeps them, or fails as a full disk would.

import { EventEmitter, once } from 'node:events'
import type { MintEntry } from '../../src/records/audit.ts'
import type { Lines } from '../../src/records/lines.ts'

export type KeptLines = Lines & Readonly<{
  kept: string[]
  /** Makes writes fail (`refuse`) or hang (`stick`). */
  refuse: () => void
  stick: () => void
  recover: () => void
  /** Resolves once this many lines are kept. */
  wrote: (count: number) => Promise<void>
}>

export function keepLines (): KeptLines {
  const kept: string[] = []
  const writes = new EventEmitter()
  const keep = (line: string) => {
    kept.push(line)
    writes.emit('line')
  }
  let state: 'writable' | 'refusing' | 'stuck' = 'writable'
  return {
    kept,
    refuse: () => { state = 'refusing' },
    stick: () => { state = 'stuck' },
    recover: () => { state = 'writable' },
    wrote: async (count) => { while (kept.length < count) await once(writes, 'line') },
    write: keep,
    confirm: async (line) => {
      if (state !== 'writable') throw new Error('ENOSPC')
      keep(line)
    },
    isStuck: () => state === 'stuck',
    lost: () => 0,
    reopen: async () => {},
    flushNow: () => {},
    close: async () => {}
  }
}

/** An audit entry of a mint without an authenticated caller. */
export const MINT_ENTRY: MintEntry = {
  request_id: 'r',
  subject: null,
  issuer: null,
  policy: null,
  kind: null,
  model: null,
  prompt: null,
  session_id: null,
  secret_sha256: null,
  expires_at: null,
  ignored: [],
  code: 'invalid_credentials',
  reason: 'token_malformed',
  param: null,
  upstream_request_id: null,
  duration_ms: 1
}
