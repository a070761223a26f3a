// Which secret opens which session: what the mint writes, and each way of connecting (WebSocket, WebRTC) reads.

import { randomBytes } from 'node:crypto'
import type { JsonObject } from '../../json.ts'
import type { Kind } from '../../realtime/session.ts'

export type SessionConfig = Readonly<{
  kind: Kind
  /** Minted by a legacy route: the session speaks the flat shape of the beta. */
  legacy: boolean
  session: JsonObject
}>

export type SessionStore = Readonly<{
  /** Returns a secret that opens sessions of this config until `expiresAtSeconds`. */
  mint: (config: SessionConfig, expiresAtSeconds: number) => string
  /** A session of this config begins. */
  begin: (config: SessionConfig) => SessionConfig
  /** Begins a new session each time; null if the secret is unknown or has expired. */
  open: (secret: string) => SessionConfig | null
}>

export function createSessionStore (now: () => number, sessionSeconds: number): SessionStore {
  const minted = new Map<string, { config: SessionConfig, expiresAtSeconds: number }>()
  const nowSeconds = () => Math.floor(now() / 1000)

  function begin (config: SessionConfig): SessionConfig {
    return { ...config, session: { ...config.session, id: newId('sess'), expires_at: nowSeconds() + sessionSeconds } }
  }

  return {
    begin,
    mint: (config, expiresAtSeconds) => {
      for (const [secret, { expiresAtSeconds }] of minted) if (expiresAtSeconds <= nowSeconds()) minted.delete(secret)
      const secret = `ek_${randomBytes(16).toString('hex')}`
      minted.set(secret, { config, expiresAtSeconds })
      return secret
    },
    open: (secret) => {
      const found = minted.get(secret)
      if (found === undefined || found.expiresAtSeconds <= nowSeconds()) return null
      return begin(found.config)
    }
  }
}

export function newId (prefix: string): string {
  return `${prefix}_${randomBytes(12).toString('hex')}`
}
