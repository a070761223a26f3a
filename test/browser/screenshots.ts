// `npm run screenshots`: takes the screenshots of README and docs. Review them before committing.

import { mkdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import type { Browser } from 'playwright-core'
import { startSandbox } from '../../src/sandbox/start.ts'
import { launch } from './chromium.ts'
import { breakOut, callThroughEphemint, mint, outcomeOn, signInAs, tries } from './playground.ts'

const FOLDER = join(import.meta.dirname, '../../.github')
const PORTS = { ephemint: 8080, ops: 9090, identityProvider: 8101, playground: 8102, upstream: 8103 }
const VIEW = { viewport: { width: 1200, height: 820 }, colorScheme: 'light', reducedMotion: 'reduce' } as const

await mkdir(FOLDER, { recursive: true })
const sandbox = await startSandbox({ ports: PORTS, mintApi: 'auto', real: null, print: () => {} })
const browser = await launch()
try {
  await takePlayground(browser, sandbox.playground)
  await takeCall(browser, sandbox.playground)
  if (sandbox.ops === null) console.log('Ephemint serves no operations: /docs is left out')
  else await takeDocs(browser, sandbox.ops)
} finally {
  await browser.close()
  await sandbox.stop()
}

async function takePlayground (browser: Browser, url: string): Promise<void> {
  const page = await (await browser.newContext(VIEW)).newPage()
  await page.goto(url)
  await page.locator('#mint:enabled').waitFor()
  await signInAs(page, 'Paula')
  await page.getByLabel('Voice').selectOption('marin')
  await mint(page)
  await page.getByRole('button', { name: 'Connect by WebRTC' }).click()
  await outcomeOn(page).getByText('Connected by WebRTC.', { exact: true }).waitFor()
  await page.getByRole('log').getByText('session.created', { exact: true }).waitFor()
  await page.evaluate('document.activeElement.blur(), scrollTo(0, 0)')
  await keep('playground.png', (path) => page.screenshot({ path }))
}

async function takeCall (browser: Browser, url: string): Promise<void> {
  const page = await (await browser.newContext({ ...VIEW, viewport: { width: 1200, height: 1240 } })).newPage()
  await page.goto(url)
  await signInAs(page, 'Fred')
  await callThroughEphemint(page)
  await tries(page).getByText('on_change').waitFor()
  for (const what of ['Other instructions', 'A tool', 'A system message']) await breakOut(page, what)
  await page.evaluate('document.activeElement.blur(), scrollTo(0, 0)')
  await keep('call.png', (path) => page.screenshot({ path }))
}

async function takeDocs (browser: Browser, opsUrl: string): Promise<void> {
  const page = await (await browser.newContext(VIEW)).newPage()
  const response = await page.goto(new URL('/docs', opsUrl).href)
  if (response?.status() !== 200) throw new Error(`/docs answers ${response?.status()}`)
  await keep('docs.png', (path) => page.screenshot({ path }))
}

async function keep (name: string, take: (path: string) => Promise<unknown>): Promise<void> {
  const path = join(FOLDER, name)
  await take(path)
  console.log(`.github/${name}: ${Math.round((await stat(path)).size / 1024)} KiB`)
}
