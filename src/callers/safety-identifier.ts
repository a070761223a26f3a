import { createHmac, hash } from 'node:crypto'

/**
 * What upstream, audit lines and Redis keys know a caller by: 64 hex digits, stable, and under a secret not reversible.
 * https://platform.openai.com/docs/guides/safety-best-practices
 */
export function safetyIdentifier (issuer: string, subject: string, secret: string | null): string {
  const text = `${issuer}\n${subject}`
  return secret === null ? hash('sha256', text) : createHmac('sha256', secret).update(text).digest('hex')
}
