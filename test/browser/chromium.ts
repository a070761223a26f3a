// The headless Chromium of the system. Its shell has the same engine without windows, for a third of the processor.

import { AxeBuilder } from '@axe-core/playwright'
import { type Browser, chromium, type Page } from 'playwright-core'
import t, { type Test } from 'tap'
import { program } from '../support/programs.ts'

const CHROMIUM = program(
  ['chromium-headless-shell', 'chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable'],
  'chromium-headless-shell'
)
const FLAGS = [
  // A fake microphone that beeps, without a permission prompt.
  '--use-fake-device-for-media-stream',
  '--use-fake-ui-for-media-stream',
  // Both ends of a call are on this machine.
  '--allow-loopback-in-peer-connection',
  '--disable-features=WebRtcHideLocalIpsWithMdns',
  // Chromium's own sandbox does not work as root, which containers and CI use.
  ...(process.getuid?.() === 0 ? ['--no-sandbox'] : [])
]

export async function launch (): Promise<Browser> {
  return chromium.launch({ executablePath: CHROMIUM.path(), args: FLAGS })
}

/** A test that needs a browser. */
export function browserTest (name: string, body: (t: Test) => Promise<void>): void {
  t.test(name, { skip: CHROMIUM.skip }, body)
}

/** Accessibility violations that axe finds. */
export async function barriersOf (page: Page): Promise<string[]> {
  // Without frames axe can run in the page itself, which is faster.
  const { violations } = await new AxeBuilder({ page }).setLegacyMode().options({ resultTypes: ['violations'] })
    .analyze()
  return violations.flatMap(
    ({ id, nodes }) => nodes.map(({ html, failureSummary }) => `${id}: ${html} ${failureSummary}`)
  )
}
