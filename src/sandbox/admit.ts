// Checks the client secret of a connection, the same for WebRTC and WebSocket.

import { incorrectKey, OpenaiError } from './openai/error.ts'
import type { SessionConfig, SessionStore } from './openai/session-store.ts'

/** Ignores the `model` of the URL: a secret opens the model that it was minted for. Throws OpenaiError. */
export function admit (store: SessionStore, secret: string | undefined, path: string): SessionConfig {
  if (secret === undefined) throw new OpenaiError(401, 'Missing bearer authentication in header')
  const config = store.open(secret)
  if (config === null) throw incorrectKey(secret)
  if ((config.kind === 'translation') !== path.startsWith('/v1/realtime/translations')) {
    throw new OpenaiError(400, `A ${config.kind} secret does not open ${path}.`, 'invalid_value')
  }
  return config
}

export function bearerOf (authorization: string | undefined): string | undefined {
  return /^Bearer (.+)$/i.exec(authorization ?? '')?.[1]
}
