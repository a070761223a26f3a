// The sandbox as `npm run dev` has it, on ports of its own, and pages that are watched.

import type { Browser, BrowserContextOptions, Page } from 'playwright-core'
import t, { type Test } from 'tap'
import { type Sandbox, type SandboxOptions, startSandbox } from '../../src/sandbox/start.ts'
import { launch } from './chromium.ts'

const ANY_PORTS = { ephemint: 0, ops: 0, identityProvider: 0, playground: 0, upstream: 0 }

/** Of a file of tests there is one browser, begun by the first that needs it. */
let browser: Promise<Browser> | undefined
t.teardown(async () => { await (await browser?.catch(() => undefined))?.close() })

/** What the sandboxes of this file have printed. */
const printed: string[] = []

function theBrowser (): Promise<Browser> {
  browser ??= launch()
  return browser
}

/** One of its own for what uses up limits or breaks something. */
export async function sandboxFor (t: Test, options: Partial<SandboxOptions> = {}): Promise<Sandbox> {
  // Meanwhile. Whoever visits something hears of it where it does not come up.
  theBrowser().catch(() => {})
  const sandbox = await startSandbox(
    { ports: ANY_PORTS, mintApi: 'auto', real: null, print: (line) => printed.push(line), ...options }
  )
  t.teardown(sandbox.stop)
  return sandbox
}

let sharedSandbox: Promise<Sandbox> | undefined

/** The one that the tests of a file have in common. */
export function shared (): Promise<Sandbox> {
  sharedSandbox ??= sandboxFor(t)
  return sharedSandbox
}

/**
 * A page in a context of its own. What it says on the console fails the test, but for the lines that the browser itself
 * writes for a request that was refused or not answered.
 */
export async function visit (
  t: Test, url: string, options: BrowserContextOptions, body: (page: Page) => Promise<void>
): Promise<void> {
  const context = await (await theBrowser()).newContext({
    viewport: { width: 1280, height: 900 }, permissions: ['clipboard-read', 'clipboard-write', 'microphone'], ...options
  })
  const said: string[] = []
  try {
    context.setDefaultTimeout(15_000)
    const page = await context.newPage()
    page.on('console', (message) => {
      if (message.type() !== 'debug' && !isNetworkLine(message.text())) {
        said.push(`${message.type()}: ${message.text()}`)
      }
    })
    page.on('pageerror', (error) => said.push(error.stack ?? error.message))
    await page.goto(url)
    await body(page)
  } catch (error) {
    t.comment(`what the sandbox printed last:\n${printed.slice(-20).join('\n')}`)
    throw error
  } finally {
    await context.close()
  }
  t.same(said, [], 'nothing is said on the console')
}

function isNetworkLine (text: string): boolean {
  return /^Failed to load resource: (the server responded with a status of 4\d\d|net::ERR_)|^WebSocket connection to '.*' failed/.test(text)
}
