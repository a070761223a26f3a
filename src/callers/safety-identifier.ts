import { createHmac, hash } from 'node:crypto'

/**
 * A caller's pseudonym for upstream, audit lines and Redis keys: 64 hex digits, stable, irreversible with a secret.
 * https://platform.openai.com/docs/guides/safety-best-practices
 */
export function safetyIdentifier (issuer: string, subject: string, secret: string | null): string {
  const text = `${issuer}\n${subject}`
  return secret === null ? hash('sha256', text) : createHmac('sha256', secret).update(text).digest('hex')
}
