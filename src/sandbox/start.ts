// All parts of the sandbox, in the order in which they need each other. What goes wrong ends what was begun.

import { randomBytes } from 'node:crypto'
import type { MINT_APIS } from '../config/environment.ts'
import { startIdentityProvider } from './identity-provider.ts'
import { HOST, isFree } from './listen.ts'
import { startUpstream } from './openai/upstream.ts'
import { type PlaygroundConfig, startPlayground } from './playground.ts'
import { preparePolicyFile } from './policy-file.ts'
import { startService } from './service.ts'

/** The ones that are wanted; another where one is taken. */
export type Ports = Readonly<Record<'ephemint' | 'ops' | 'identityProvider' | 'playground' | 'upstream', number>>

export type SandboxOptions = Readonly<{
  ports: Ports
  mintApi: typeof MINT_APIS[number]
  /** The environment of the real upstream; null for the emulated one. */
  real: Readonly<Record<string, string>> | null
  /** Pages that may call, beside the playground. */
  origins?: readonly string[]
  say: (line: string) => void
}>

export type Sandbox = Readonly<{
  ephemint: string
  ops: string | null
  playground: string
  identityProvider: string
  upstream: string
  policyFile: string
  /** Resolves when Ephemint's process has ended, asked or not. */
  ended: Promise<string>
  /** Ephemint alone, as when it dies; the rest goes on. */
  stopEphemint: () => Promise<void>
  stop: () => Promise<void>
}>

export async function startSandbox (options: SandboxOptions): Promise<Sandbox> {
  const ends: (() => Promise<void>)[] = []
  const stop = async () => { await Promise.allSettled(ends.map((end) => end())) }
  try {
    return { ...await startParts(options, ends), stop }
  } catch (error) {
    await stop()
    throw error
  }
}

async function startParts (
  { ports, mintApi, real, origins = [], say }: SandboxOptions, ends: (() => Promise<void>)[]
): Promise<Omit<Sandbox, 'stop'>> {
  const legacy = mintApi === 'sessions'
  const upstream = real === null
    ? await emulated()
    : { url: real.OPENAI_BASE_URL ?? 'https://api.openai.com/v1', env: real }
  const identityProvider = await startIdentityProvider({ port: ports.identityProvider })
  ends.push(identityProvider.close)
  let config: PlaygroundConfig | null = null
  const playground = await startPlayground({ port: ports.playground, config: () => config })
  ends.push(playground.close)
  const policyFile = await preparePolicyFile({ issuer: identityProvider.issuer, legacyOnly: legacy })
  ends.push(policyFile.remove)

  const service = await startService({
    print: say,
    env: {
      ...upstream.env,
      OPENAI_MINT_API: mintApi,
      EPHEMINT_CONFIG: policyFile.path,
      CORS_ORIGINS: [playground.origin, ...origins].join(','),
      SAFETY_IDENTIFIER_SECRET: randomBytes(32).toString('hex'),
      SANDBOX_INTROSPECTION_SECRET: identityProvider.introspectionSecret,
      HOST,
      PORT: String(await freeOrAny(ports.ephemint)),
      OPS_HOST: HOST,
      OPS_PORT: String(await freeOrAny(ports.ops)),
      DRAIN_SECONDS: '0',
      // All that is tried here comes from one address.
      ADDRESS_LIMIT_PER_MINUTE: '1000'
    }
  })
  ends.push(service.stop)
  config = { mintUrl: `${service.url}/v1`, identityProviderUrl: identityProvider.issuer, isReal: real !== null }

  return {
    ephemint: service.url,
    ops: service.opsUrl,
    playground: playground.origin,
    identityProvider: identityProvider.issuer,
    upstream: upstream.url,
    policyFile: policyFile.path,
    ended: service.ended,
    stopEphemint: service.stop
  }

  async function emulated () {
    const apiKey = `sk-sandbox-${randomBytes(16).toString('hex')}`
    const { url, close } = await startUpstream(
      { port: ports.upstream, apiKey, legacy, log: (line) => say(`upstream         ${line}`) }
    )
    ends.push(close)
    return { url, env: { OPENAI_API_KEY: apiKey, OPENAI_BASE_URL: url, REALTIME_PUBLIC_URL: url } }
  }
}

async function freeOrAny (port: number): Promise<number> {
  return await isFree(port) ? port : 0
}
