// `npm run dev`: an upstream, an identity provider, Ephemint as in production, and a page that uses it. No key, no bill.

import { randomBytes } from 'node:crypto'
import { parseArgs } from 'node:util'
import { MINT_APIS } from '../config.ts'
import { startIdentityProvider } from './identity-provider.ts'
import { HOST, isFree } from './listen.ts'
import { startPlayground, type PlaygroundConfig } from './playground.ts'
import { preparePolicyFile } from './policy-file.ts'
import { startService } from './service.ts'
import { startUpstream, type Upstream } from './upstream.ts'
import { welcome } from './welcome.ts'

const PORTS = { ephemint: 8080, ops: 9090, identityProvider: 8101, playground: 8102, upstream: 8103 }
const USAGE = `npm run dev -- [--port N] [--mint-api ${MINT_APIS.join('|')}] [--real]`

type Options = { port: number | null, mintApi: typeof MINT_APIS[number], real: boolean }

const say = (line: string) => { process.stdout.write(`${line}\n`) }
/** How to end what has been started. */
const started: (() => Promise<void>)[] = []
let stopped: Promise<never> | undefined

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => stop(0))
try {
  await run(readOptions())
} catch (error) {
  say((error as Error).message)
  await stop(1)
}

async function run ({ port, mintApi, real }: Options): Promise<void> {
  if (port !== null && !await isFree(port)) throw new Error(`Port ${port} is taken.`)
  const upstream = real ? realUpstream() : await emulatedUpstream(mintApi === 'sessions')
  const identityProvider = await startIdentityProvider({ port: PORTS.identityProvider })
  started.push(identityProvider.close)
  let config: PlaygroundConfig | null = null
  const playground = await startPlayground({ port: PORTS.playground, config: () => config })
  started.push(playground.close)
  const policyFile = await preparePolicyFile({ issuer: identityProvider.issuer, legacyOnly: mintApi === 'sessions' })
  started.push(policyFile.remove)

  const service = await startService({
    print: say,
    env: {
      ...upstream.env,
      OPENAI_MINT_API: mintApi,
      EPHEMINT_CONFIG: policyFile.path,
      CORS_ORIGINS: playground.origin,
      SAFETY_IDENTIFIER_SECRET: randomBytes(32).toString('hex'),
      HOST,
      PORT: String(port ?? await freeOrAny(PORTS.ephemint)),
      OPS_HOST: HOST,
      OPS_PORT: String(await freeOrAny(PORTS.ops)),
      DRAIN_SECONDS: '0'
    }
  })
  started.push(service.stop)
  config = { mintUrl: `${service.url}/v1`, identityProviderUrl: identityProvider.issuer }

  sayWhatMoved([
    ['Ephemint', port ?? PORTS.ephemint, service.url],
    ['The identity provider', PORTS.identityProvider, identityProvider.issuer],
    ['The playground', PORTS.playground, playground.origin],
    ...(real ? [] : [['The upstream', PORTS.upstream, upstream.url] as const])
  ])
  say(welcome({
    ephemint: service.url,
    ops: service.opsUrl,
    playground: playground.origin,
    identityProvider: identityProvider.issuer,
    upstream: upstream.url,
    real,
    policyFile: policyFile.path
  }))
  service.ended.then(async (how) => {
    if (stopped === undefined) say(`Ephemint ended ${how}.`)
    await stop(1)
  })
}

type UpstreamInUse = { url: string, env: Record<string, string> }

async function emulatedUpstream (legacy: boolean): Promise<UpstreamInUse> {
  const apiKey = `sk-sandbox-${randomBytes(16).toString('hex')}`
  const upstream: Upstream = await startUpstream({ port: PORTS.upstream, apiKey, legacy, log: (line) => say(`upstream         ${line}`) })
  started.push(upstream.close)
  return { url: upstream.url, env: { OPENAI_API_KEY: apiKey, OPENAI_BASE_URL: upstream.url, REALTIME_PUBLIC_URL: upstream.url } }
}

/** The key, and what says whose it is and where it is good. */
function realUpstream (): UpstreamInUse {
  const env = Object.fromEntries(['OPENAI_API_KEY', 'OPENAI_BASE_URL', 'OPENAI_ORG_ID', 'OPENAI_PROJECT_ID'].flatMap((name) => {
    const value = process.env[name]
    return value === undefined || value === '' ? [] : [[name, value]]
  }))
  if (env.OPENAI_API_KEY === undefined) throw new Error('--real needs OPENAI_API_KEY in the environment.')
  return { url: env.OPENAI_BASE_URL ?? 'https://api.openai.com/v1', env }
}

function readOptions (): Options {
  try {
    const { values: { port, real = false, 'mint-api': mintApi = 'auto' } } = parseArgs({
      options: { port: { type: 'string' }, real: { type: 'boolean' }, 'mint-api': { type: 'string' } }
    })
    const number = port === undefined ? null : Number(port)
    if (number !== null && !(Number.isInteger(number) && number >= 0 && number <= 65_535)) throw new Error(`--port ${port} is no port.`)
    const api = MINT_APIS.find((one) => one === mintApi)
    if (api === undefined) throw new Error(`--mint-api ${mintApi} is not one of ${MINT_APIS.join(', ')}.`)
    return { port: number, mintApi: api, real }
  } catch (error) {
    throw new Error(`${(error as Error).message}\nUsage: ${USAGE}`)
  }
}

async function freeOrAny (port: number): Promise<number> {
  return await isFree(port) ? port : 0
}

function sayWhatMoved (places: (readonly [name: string, wanted: number, url: string])[]): void {
  for (const [name, wanted, url] of places) {
    const { port } = new URL(url)
    if (wanted !== 0 && port !== String(wanted)) say(`Port ${wanted} is taken: ${name} listens on ${port}.`)
  }
}

/** Once, however often it is asked: npm and the terminal both pass Ctrl-C on. */
function stop (exitCode: number): Promise<never> {
  stopped ??= Promise.allSettled(started.map((end) => end())).then(() => process.exit(exitCode))
  return stopped
}
