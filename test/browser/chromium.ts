// A headless browser, found where the distribution has put it.

import { AxeBuilder } from '@axe-core/playwright'
import { type Browser, chromium, type Page } from 'playwright-core'
import t, { type Test } from 'tap'
import { program } from '../support/programs.ts'

const CHROMIUM = program(['chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable'], 'chromium')
const FLAGS = [
  // A microphone that beeps, and nobody who has to allow it.
  '--use-fake-device-for-media-stream',
  '--use-fake-ui-for-media-stream',
  // Both ends of a call are on this machine.
  '--allow-loopback-in-peer-connection',
  '--disable-features=WebRtcHideLocalIpsWithMdns',
  // Chromium's own sandbox does not run as root, as which containers and CI do.
  ...(process.getuid?.() === 0 ? ['--no-sandbox'] : [])
]

export async function launch (): Promise<Browser> {
  return chromium.launch({ executablePath: CHROMIUM.path(), args: FLAGS })
}

/** A test that needs a browser. */
export function browserTest (name: string, body: (t: Test) => Promise<void>): void {
  t.test(name, { skip: CHROMIUM.skip }, body)
}

/** What keeps anybody from using the page, in the words of axe. */
export async function barriersOf (page: Page): Promise<string[]> {
  // There are no frames: it may run in the page, and need not put the parts together in another. What passes is not collected.
  const { violations } = await new AxeBuilder({ page }).setLegacyMode().options({ resultTypes: ['violations'] })
    .analyze()
  return violations.flatMap(
    ({ id, nodes }) => nodes.map(({ html, failureSummary }) => `${id}: ${html} ${failureSummary}`)
  )
}
