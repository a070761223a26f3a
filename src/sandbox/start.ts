// Starts all parts of the sandbox in the order of their dependencies. If one fails, the others are stopped.

import { randomBytes } from 'node:crypto'
import type { MINT_APIS } from '../config/environment.ts'
import { createChangeRules } from './change-rules.ts'
import { startEphemint } from './ephemint-process.ts'
import { startIdentityProvider } from './identity-provider.ts'
import { HOST, isFree } from './listen.ts'
import { startUpstream } from './openai/upstream.ts'
import { type PlaygroundConfig, startPlayground } from './playground.ts'
import { preparePolicyFile } from './policy-file.ts'
import { createSidebandFeed } from './sideband-feed.ts'

/** Wanted ports. If one is taken, any free port is used instead. */
export type Ports = Readonly<Record<'ephemint' | 'ops' | 'identityProvider' | 'playground' | 'upstream', number>>

export type SandboxOptions = Readonly<{
  ports: Ports
  mintApi: typeof MINT_APIS[number]
  /** The environment of the real upstream; null for the emulated one. */
  real: Readonly<Record<string, string>> | null
  /** Origins of pages that may call Ephemint, in addition to the playground. */
  origins?: readonly string[]
  print: (line: string) => void
}>

export type Sandbox = Readonly<{
  ephemint: string
  ops: string | null
  playground: string
  identityProvider: string
  upstream: string
  policyFile: string
  /** Resolves when Ephemint's process has ended, for whatever reason. */
  ended: Promise<string>
  /** Stops only Ephemint, as if it had died. */
  stopEphemint: () => Promise<void>
  stop: () => Promise<void>
}>

export async function startSandbox (options: SandboxOptions): Promise<Sandbox> {
  const stops: (() => Promise<void>)[] = []
  const stop = async () => { await Promise.allSettled(stops.map((one) => one())) }
  try {
    return { ...await startParts(options, stops), stop }
  } catch (error) {
    await stop()
    throw error
  }
}

async function startParts (
  { ports, mintApi, real, origins = [], print }: SandboxOptions, stops: (() => Promise<void>)[]
): Promise<Omit<Sandbox, 'stop'>> {
  const legacy = mintApi === 'sessions'
  const feed = createSidebandFeed()
  const rules = createChangeRules(() => policyFile.path)
  const upstream = real === null
    ? await startEmulated()
    : { url: real.OPENAI_BASE_URL ?? 'https://api.openai.com/v1', env: real }
  const identityProvider = await startIdentityProvider({ port: ports.identityProvider })
  stops.push(identityProvider.close)
  let config: PlaygroundConfig | null = null
  const playground = await startPlayground({ port: ports.playground, config: () => config, feed, rules })
  stops.push(playground.close)
  const policyFile = await preparePolicyFile({ issuer: identityProvider.issuer, legacyOnly: legacy })
  stops.push(policyFile.remove)

  const ephemint = await startEphemint({
    print,
    onEntry: rules.put,
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
      // All requests to the sandbox come from one address.
      ADDRESS_LIMIT_PER_MINUTE: '1000'
    }
  })
  stops.push(ephemint.stop)
  config = { mintUrl: `${ephemint.url}/v1`, identityProviderUrl: identityProvider.issuer, isReal: real !== null }

  return {
    ephemint: ephemint.url,
    ops: ephemint.opsUrl,
    playground: playground.origin,
    identityProvider: identityProvider.issuer,
    upstream: upstream.url,
    policyFile: policyFile.path,
    ended: ephemint.ended,
    stopEphemint: ephemint.stop
  }

  async function startEmulated () {
    const apiKey = `sk-sandbox-${randomBytes(16).toString('hex')}`
    const { url, close } = await startUpstream({
      port: ports.upstream, apiKey, legacy, log: (line) => print(`upstream         ${line}`), onSideband: feed.put
    })
    stops.push(close)
    return { url, env: { OPENAI_API_KEY: apiKey, OPENAI_BASE_URL: url, REALTIME_PUBLIC_URL: url } }
  }
}

async function freeOrAny (port: number): Promise<number> {
  return await isFree(port) ? port : 0
}
