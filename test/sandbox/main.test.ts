// `npm run dev` as a process: its output, and the commands in it.

import { execFile, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { type AddressInfo, createServer } from 'node:net'
import { promisify } from 'node:util'
import t, { type Test } from 'tap'
import { WebSocket } from 'ws'
import { UNCOUNTED } from '../support/processes.ts'

const NO_CURL = spawnSync('curl', ['--version']).status === 0 ? false : 'there is no curl on this machine'

/** `ended` resolves to the exit code; `ready` to what was printed until Ephemint could be used. */
function dev (t: Test, ...args: string[]) {
  const [program, ...before] = UNCOUNTED
  const child = spawn(program, [...before, process.execPath, 'src/sandbox/main.ts', ...args], {
    env: { PATH: process.env.PATH }, stdio: ['ignore', 'pipe', 'pipe']
  })
  const ended = once(child, 'close').then(([code]) => code)
  let printed = ''
  const ready = new Promise<string>((resolve, reject) => {
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', (text) => {
        printed += text
        if (printed.includes('in the format of the beta API') && printed.endsWith('\n')) resolve(printed)
      })
    }
    ended.then(() => reject(new Error(printed)))
  })
  ready.catch(() => {})
  t.teardown(async () => {
    child.kill('SIGTERM')
    await ended
  })
  return { ready, ended, printed: () => printed, interrupt: () => child.kill('SIGINT') }
}

const curlLines = (printed: string) => printed.split('\n').filter((line) => line.startsWith('  curl'))

async function paste (line: string): Promise<any> {
  return JSON.parse((await promisify(execFile)('sh', ['-c', line])).stdout)
}

t.test('an invalid option stops the start and prints the usage', async (t) => {
  const wrong = [
    ['--nonsense'], ['--port', 'x'], ['--port', '65536'], ['--mint-api', 'beta'], ['--origin', 'localhost:5173'],
    ['--origin', 'http://localhost:5173/']
  ]
  await Promise.all(wrong.map(async (args) => {
    const { ended, printed } = dev(t, ...args)
    t.equal(await ended, 1, args.join(' '))
    t.match(printed(), /Usage: npm run dev/)
  }))
})

t.test('--real without a key stops the start', async (t) => {
  const { ended, printed } = dev(t, '--real')
  t.equal(await ended, 1)
  t.match(printed(), 'needs OPENAI_API_KEY')
})

t.test('a --port that is taken stops the start', async (t) => {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => server.close())
  const { ended, printed } = dev(t, '--port', String((server.address() as AddressInfo).port))
  t.equal(await ended, 1)
  t.match(printed(), /^Port \d+ is taken/)
})

t.test('the printed commands mint, and the one that the policy refuses is refused', { skip: NO_CURL }, async (t) => {
  const { ready, interrupt, ended } = dev(t, '--port', '0', '--origin', 'http://localhost:5173')
  const printed = await ready
  const [mint, beta, refused] = await Promise.all(curlLines(printed).map(paste))
  t.match(mint, { value: /^ek_/, session: { model: 'gpt-realtime-2.1', instructions: /Paula & Partners/ } })
  t.match(beta, { client_secret: { value: /^ek_/ }, voice: 'verse', modalities: ['audio', 'text'] })
  t.match(refused, { error: { code: 'policy_violation', param: 'session.model' } })

  const [, upstream = ''] = /Upstream +(\S+)/.exec(printed) ?? []
  const socket = new WebSocket(
    `${upstream}/realtime`, { headers: { authorization: `Bearer ${beta.client_secret.value}` } }
  )
  const [created] = await once(socket, 'message')
  t.match(JSON.parse(created), {
    type: 'session.created',
    session: { model: 'gpt-realtime-2.1', instructions: /Paula & Partners/, audio: { output: { voice: 'verse' } } }
  })

  await t.test('a page of an --origin may call, with any credential that a browser can send', async (t) => {
    await assertOriginMayCall(t, printed)
  })

  interrupt()
  t.equal(await ended, 0, 'Ctrl-C is not a failure, and an open session does not delay it')
})

t.test('with --mint-api sessions it mints at the route of the beta API', { skip: NO_CURL }, async (t) => {
  const { ready, printed, interrupt, ended } = dev(t, '--port', '0', '--mint-api', 'sessions')
  const [mint, beta] = await Promise.all(curlLines(await ready).slice(0, 2).map(paste))
  t.match(mint, { value: /^ek_/, session: { audio: { output: { voice: 'cedar' } } } })
  t.match(beta, { client_secret: { value: /^ek_/ }, temperature: 0.8 }, 'the beta API has a temperature')
  interrupt()
  t.equal(await ended, 0)
  t.match(printed(), /upstream +POST \/v1\/realtime\/sessions 200/)
  t.notMatch(printed(), /client_secrets 200/)
})

async function assertOriginMayCall (t: Test, printed: string): Promise<void> {
  const [, mintUrl = ''] = /Ephemint +(\S+)/.exec(printed) ?? []
  const [, identityProvider = ''] = /Sign-in +(\S+)\/token/.exec(printed) ?? []
  const mint = async (headers: Record<string, string>) => {
    const response = await fetch(`${mintUrl}/realtime/client_secrets`, {
      method: 'POST',
      headers: { origin: 'http://localhost:5173', 'content-type': 'application/json', ...headers },
      body: '{}'
    })
    return { status: response.status, model: (await response.json() as any).session?.model }
  }
  t.equal((await mint({ origin: 'http://localhost:5174' })).status, 403)
  t.same(await mint({}), { status: 200, model: 'gpt-realtime-2.1-mini' }, 'a guest')

  const opaque = await (await fetch(`${identityProvider}/token?user=paula&form=opaque`)).text()
  t.same(
    await mint({ authorization: `Bearer ${opaque}` }), { status: 200, model: 'gpt-realtime-2.1' }, 'an opaque token'
  )
  const login = await fetch(`${identityProvider}/login?user=paula`, { method: 'POST' })
  t.same(
    await mint({ cookie: login.headers.get('set-cookie')?.split(';')[0] ?? '' }),
    { status: 200, model: 'gpt-realtime-2.1' },
    'a cookie'
  )
  t.equal((await mint({ cookie: 'sid=0123' })).status, 401)
}
