// A headless browser, found where the distribution has put it.

import { accessSync, constants } from 'node:fs'
import { delimiter, join } from 'node:path'
import { chromium, type Browser } from 'playwright-core'
import t, { type Test } from 'tap'

const NAMES = ['chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable']
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

export const CHROMIUM = (process.env.PATH ?? '').split(delimiter).flatMap((folder) => NAMES.map((name) => join(folder, name))).find(isExecutable)

export async function launch (): Promise<Browser> {
  if (CHROMIUM === undefined) throw new Error(`None of ${NAMES.join(', ')} is in PATH. On Debian and Ubuntu: apt-get install chromium`)
  return chromium.launch({ executablePath: CHROMIUM, args: FLAGS })
}

/** A test that needs a browser. Without one it is skipped aloud; where CI runs, nothing may be skipped. */
export function browserTest (name: string, body: (t: Test) => Promise<void>): void {
  if (CHROMIUM !== undefined || process.env.CI === 'true') {
    t.test(name, body)
    return
  }
  const why = 'there is no Chromium on this machine (Debian, Ubuntu: apt-get install chromium)'
  process.stderr.write(`skipped: ${name}: ${why}\n`)
  t.test(name, { skip: why }, body)
}

function isExecutable (path: string): boolean {
  try {
    accessSync(path, constants.X_OK)
    return true
  } catch {
    return false
  }
}
