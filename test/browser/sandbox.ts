// Starts the sandbox of `npm run dev` on free ports and visits pages, whose console must stay empty.

import type { Browser, BrowserContextOptions, Page } from 'playwright-core'
import t, { type Test } from 'tap'
import { type Sandbox, type SandboxOptions, startSandbox } from '../../src/sandbox/start.ts'
import { launch } from './chromium.ts'

const ANY_PORTS = { ephemint: 0, ops: 0, identityProvider: 0, playground: 0, upstream: 0 }

/** One browser per test file, started by the first test that needs it. */
let browser: Promise<Browser> | undefined
t.teardown(async () => { await (await browser?.catch(() => undefined))?.close() })

/** The output of the sandboxes of this file. */
const printed: string[] = []

function theBrowser (): Promise<Browser> {
  browser ??= launch()
  return browser
}

/** A separate sandbox, for tests that use up limits or break something. */
export async function sandboxFor (t: Test, options: Partial<SandboxOptions> = {}): Promise<Sandbox> {
  // Starts the browser meanwhile; `visit` reports a failure.
  theBrowser().catch(() => {})
  const sandbox = await startSandbox(
    { ports: ANY_PORTS, mintApi: 'auto', real: null, print: (line) => printed.push(line), ...options }
  )
  t.teardown(sandbox.stop)
  return sandbox
}

/** A sandbox whose lines are kept: those of the upstream, and audit lines as people read them. */
export async function sandboxWithLines (t: Test) {
  const lines: string[] = []
  const sandbox = await sandboxFor(t, { print: (line) => lines.push(line) })
  const count = (pattern: RegExp) => lines.filter((line) => pattern.test(line)).length
  return { ...sandbox, count, has: (pattern: RegExp) => count(pattern) > 0 }
}

let sharedSandbox: Promise<Sandbox> | undefined

/** The sandbox that the tests of a file share. */
export function shared (): Promise<Sandbox> {
  sharedSandbox ??= sandboxFor(t)
  return sharedSandbox
}

/**
 * Opens a page in a new context. Output on the console fails the test, except for the browser's own lines about failed
 * requests.
 */
export async function visit (
  t: Test, url: string, options: BrowserContextOptions, body: (page: Page) => Promise<void>
): Promise<void> {
  const context = await (await theBrowser()).newContext({
    viewport: { width: 1280, height: 900 },
    permissions: ['clipboard-read', 'clipboard-write', 'microphone'],
    // The bar of a countdown is in transition all the time, and without a graphics card each frame is work.
    reducedMotion: 'reduce',
    ...options
  })
  const logged: string[] = []
  try {
    context.setDefaultTimeout(15_000)
    const page = await context.newPage()
    page.on('console', (message) => {
      if (message.type() !== 'debug' && !isNetworkLine(message.text())) {
        logged.push(`${message.type()}: ${message.text()}`)
      }
    })
    page.on('pageerror', (error) => logged.push(error.stack ?? error.message))
    await page.goto(url)
    await body(page)
  } catch (error) {
    t.comment(`last output of the sandbox:\n${printed.slice(-20).join('\n')}`)
    throw error
  } finally {
    await context.close()
  }
  t.same(logged, [], 'nothing is logged on the console')
}

function isNetworkLine (text: string): boolean {
  return /^Failed to load resource: (the server responded with a status of 4\d\d|net::ERR_)/.test(text) ||
    /^WebSocket connection to '.*' failed/.test(text)
}
