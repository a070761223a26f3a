// The measured servers: Ephemint with all its features, and peers as they are commonly written.

import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Identity } from './identity.ts'

export type Contender = Readonly<{
  name: string, file: string, env: Record<string, string>, requestsFile: string, args?: string[]
}>

const ORIGIN = 'https://app.example.com'
const BODY = JSON.stringify({ session: { type: 'realtime', audio: { output: { voice: 'cedar' } } } })

export function requestsFile (folder: string, name: string, requests: string[]): string {
  const file = join(folder, `${name}.json`)
  writeFileSync(file, JSON.stringify(requests))
  return file
}

export function mintRequest (token: string | null): string {
  return [
    'POST /v1/realtime/client_secrets HTTP/1.1', 'Host: mint.example.com', `Origin: ${ORIGIN}`,
    ...(token === null ? [] : [`Authorization: Bearer ${token}`]),
    'Content-Type: application/json', `Content-Length: ${Buffer.byteLength(BODY)}`, '', BODY
  ].join('\r\n')
}

export const TOKEN_REQUEST = ['GET /token HTTP/1.1', 'Host: mint.example.com', `Origin: ${ORIGIN}`, '', ''].join('\r\n')

type PolicyOptions = Readonly<{ others?: number, blocked?: number, padding?: number, gateway?: object }>

/** `others`, padded, precede the policy that applies; `blocked` is a number of unused subjects. */
export function policyFile (folder: string, name: string, { issuer, jwks }: Identity, {
  others = 0, blocked = 0, padding = 0, gateway
}: PolicyOptions = {}): string {
  const session = {
    fixed: {
      model: 'gpt-realtime-2.1', instructions: 'You are Ada, the voice agent of Example.', max_output_tokens: 2048
    },
    defaults: { audio: { output: { voice: 'marin' } } },
    allow: {
      'audio.output.voice': { enum: ['marin', 'cedar'] },
      'audio.output.speed': { type: 'number', minimum: 0.75, maximum: 1.25 }
    },
    expires_after: { default: 60, max: 300 }
  }
  const limits = { minute: 1_000_000, day: 100_000_000 }
  const file = join(folder, `${name}.yaml`)
  writeFileSync(file, JSON.stringify({
    callers: [{ jwt: { issuer, jwks, audience: 'voice-app' } }, ...(gateway === undefined ? [] : [gateway])],
    policies: [
      ...Array.from({ length: others }, (_, i) => ({
        name: `other-${i}`,
        when: { plan: `plan-${i}` },
        limits: { minute: 1 },
        realtime: { fixed: { model: 'gpt-realtime-2.1', instructions: `You are Bob.${' '.repeat(padding)}` } }
      })),
      { name: 'pro', when: gateway === undefined ? { plan: ['pro', 'team'] } : 'any', limits, realtime: session }
    ],
    ...(blocked === 0 ? {} : { blocked: Array.from({ length: blocked }, (_, i) => ({ subject: `blocked-${i}` })) })
  }))
  return file
}

export function ephemint (
  name: string, folder: string, policy: string, upstream: string, requests: string, more: Record<string, string> = {}
): Contender {
  return {
    name,
    file: '../../src/server.ts',
    requestsFile: requests,
    // The options of `npm start`.
    args: ['--max-semi-space-size=16', '--max-old-space-size=384'],
    env: {
      HOST: '127.0.0.1',
      OPS_HOST: '127.0.0.1',
      OPS_PORT: '0',
      OPENAI_API_KEY: 'sk-bench',
      OPENAI_BASE_URL: `${upstream}/v1`,
      EPHEMINT_CONFIG: policy,
      CORS_ORIGINS: ORIGIN,
      ADDRESS_LIMIT_PER_MINUTE: '1000000',
      SAFETY_IDENTIFIER_SECRET: 'a secret of the benchmark, and long enough',
      AUDIT_FILE: join(folder, `${name.replaceAll(/\W+/g, '-')}.audit`),
      ...more
    }
  }
}

export function peer (name: string, file: string, upstream: string, requests: string): Contender {
  return {
    name,
    file: `./contenders/${file}`,
    requestsFile: requests,
    env: { UPSTREAM: upstream, OPENAI_API_KEY: 'sk-bench', NODE_ENV: 'production' }
  }
}
