// The headless Firefox of the system, by WebDriver BiDi.

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import t, { type Test } from 'tap'
import { WebSocket } from 'ws'
import { endWith, makeFolder } from '../support/processes.ts'
import { program } from '../support/programs.ts'
import { until } from '../support/until.ts'

const FIREFOX = program(['firefox-esr', 'firefox'], 'firefox-esr')

export type Firefox = Readonly<{
  /** Loads that page in a tab, evaluates an expression in it, which may be a promise, and returns its JSON value. */
  evaluate: (url: string, expression: string) => Promise<unknown>
}>

/** A test that needs Firefox. */
export function firefoxTest (name: string, body: (t: Test) => Promise<void>): void {
  t.test(name, { skip: FIREFOX.skip }, body)
}

export async function launchFirefox (owner: Test): Promise<Firefox> {
  const folder = makeFolder(owner)
  const child = spawn(
    FIREFOX.path(), ['--headless', '--no-remote', '--remote-debugging-port=0', '--profile', folder],
    { stdio: ['ignore', 'ignore', 'pipe'], env: { ...process.env, HOME: folder, MOZ_CRASHREPORTER_DISABLE: '1' } }
  )
  let printed = ''
  child.stderr.on('data', (chunk) => { printed += chunk })
  endWith(owner, child)
  const url = await until('Firefox to listen', () => {
    if (child.exitCode !== null) throw new Error(`Firefox ended: ${printed}`)
    return /WebDriver BiDi listening on (ws:\S+)/.exec(printed)?.[1]
  }, 60_000)
  const send = await connect(owner, `${url}/session`)
  await send('session.new', { capabilities: {} })
  const { contexts: [tab] } = await send('browsingContext.getTree', {})
  return {
    evaluate: async (page, expression) => {
      await send('browsingContext.navigate', { context: tab.context, url: page, wait: 'complete' })
      const { result, exceptionDetails } = await send('script.evaluate', {
        expression: `Promise.resolve(${expression}).then(JSON.stringify)`,
        target: { context: tab.context },
        awaitPromise: true
      })
      if (exceptionDetails !== undefined) throw new Error(exceptionDetails.text)
      return JSON.parse(result.value)
    }
  }
}

/** Sends commands, and returns the result of each. Results are plain JSON, whose shape the command decides. */
async function connect (owner: Test, url: string) {
  const socket = new WebSocket(url, { perMessageDeflate: false })
  owner.teardown(() => socket.terminate())
  await once(socket, 'open')
  let lastId = 0
  const waiting = new Map<number, (answer: any) => void>()
  socket.on('message', (data) => {
    const answer = JSON.parse(String(data))
    waiting.get(answer.id)?.(answer)
  })
  return async (method: string, params: object): Promise<any> => {
    const id = ++lastId
    const answered = new Promise<any>((resolve) => waiting.set(id, resolve))
    socket.send(JSON.stringify({ id, method, params }))
    const { type, result, error, message } = await answered
    if (type !== 'success') throw new Error(`${method}: ${error}: ${message}`)
    return result
  }
}
