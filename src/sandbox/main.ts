// `npm run dev`: an emulated OpenAI API, an identity provider, Ephemint as in production, and a page. No key, no bill.

import { parseArgs } from 'node:util'
import { MINT_APIS } from '../config/environment.ts'
import { isFree } from './listen.ts'
import { type Ports, type Sandbox, startSandbox } from './start.ts'
import { welcome } from './welcome.ts'

const PORTS: Ports = { ephemint: 8080, ops: 9090, identityProvider: 8101, playground: 8102, upstream: 8103 }
const OPENAI_VARIABLES = ['OPENAI_API_KEY', 'OPENAI_BASE_URL', 'OPENAI_ORG_ID', 'OPENAI_PROJECT_ID']
const USAGE = `npm run dev -- [--port N] [--origin URL]... [--mint-api ${MINT_APIS.join('|')}] [--real]`

type Options = { port: number | null, mintApi: typeof MINT_APIS[number], origins: string[], real: boolean }

const print = (line: string) => { process.stdout.write(`${line}\n`) }
let starting: Promise<Sandbox> | undefined
let stopped: Promise<never> | undefined

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => stop(0))
try {
  await runSandbox(readOptions())
} catch (error) {
  if (stopped === undefined) print((error as Error).message)
  await stop(1)
}

async function runSandbox ({ port, mintApi, origins, real }: Options): Promise<void> {
  if (port !== null && !await isFree(port)) throw new Error(`Port ${port} is taken.`)
  const ports = { ...PORTS, ephemint: port ?? PORTS.ephemint }
  starting = startSandbox({ ports, mintApi, origins, real: real ? realEnvironment() : null, print })
  const sandbox = await starting

  reportMovedPorts([
    ['Ephemint', ports.ephemint, sandbox.ephemint],
    ['The identity provider', PORTS.identityProvider, sandbox.identityProvider],
    ['The playground', PORTS.playground, sandbox.playground],
    ...(real ? [] : [['The upstream', PORTS.upstream, sandbox.upstream] as const])
  ])
  print(welcome({ ...sandbox, real }))
  sandbox.ended.then(async (how) => {
    if (stopped === undefined) print(`Ephemint ended ${how}.`)
    await stop(1)
  })
}

/** The API key, and the variables that belong to it. */
function realEnvironment (): Record<string, string> {
  const env = Object.fromEntries(OPENAI_VARIABLES.flatMap((name) => {
    const value = process.env[name]
    return value === undefined || value === '' ? [] : [[name, value]]
  }))
  if (env.OPENAI_API_KEY === undefined) throw new Error('--real needs OPENAI_API_KEY in the environment.')
  return env
}

function readOptions (): Options {
  try {
    const { values: { port, origin: origins = [], real = false, 'mint-api': mintApi = 'auto' } } = parseArgs({
      options: {
        port: { type: 'string' },
        origin: { type: 'string', multiple: true },
        real: { type: 'boolean' },
        'mint-api': { type: 'string' }
      }
    })
    const number = port === undefined ? null : Number(port)
    if (number !== null && !(Number.isInteger(number) && number >= 0 && number <= 65_535)) {
      throw new Error(`--port ${port} is not a port.`)
    }
    const api = MINT_APIS.find((one) => one === mintApi)
    if (api === undefined) throw new Error(`--mint-api ${mintApi} is not one of ${MINT_APIS.join(', ')}.`)
    const wrong = origins.find((origin) => URL.parse(origin)?.origin !== origin)
    if (wrong !== undefined) throw new Error(`--origin ${wrong} is not an origin such as http://localhost:5173.`)
    return { port: number, mintApi: api, origins, real }
  } catch (error) {
    throw new Error(`${(error as Error).message}\nUsage: ${USAGE}`)
  }
}

function reportMovedPorts (parts: (readonly [name: string, wanted: number, url: string])[]): void {
  for (const [name, wanted, url] of parts) {
    const { port } = new URL(url)
    if (wanted !== 0 && port !== String(wanted)) print(`Port ${wanted} is taken: ${name} listens on ${port}.`)
  }
}

/** Stops once, although npm and the terminal both pass Ctrl-C on. */
function stop (exitCode: number): Promise<never> {
  // Waits for a start that is under way, so that the parts it has started are stopped too.
  stopped ??= Promise.resolve(starting).then((sandbox) => sandbox?.stop(), () => {}).then(() => process.exit(exitCode))
  return stopped
}
