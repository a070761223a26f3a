// Checks the credentials of connections to the emulator: the server's key creates calls, a minted secret connects.

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

/** Throws OpenaiError. */
export function admitKey (authorization: string | undefined, apiKey: string): void {
  const key = bearerOf(authorization)
  if (key === undefined) {
    throw new OpenaiError(
      401,
      'You didn\'t provide an API key. You need to provide your API key in an Authorization header using ' +
      'Bearer auth (i.e. Authorization: Bearer YOUR_KEY).'
    )
  }
  if (key !== apiKey) throw incorrectKey(key)
}

export function bearerOf (authorization: string | undefined): string | undefined {
  return /^Bearer (.+)$/i.exec(authorization ?? '')?.[1]
}
