import type { Browser } from 'playwright-core'
import t from 'tap'
import { browserTest, launch } from './chromium.ts'
import { crossOriginTests, type Evaluate } from './cross-origin.ts'

let chromium: Promise<Browser> | undefined
t.teardown(async () => { await (await chromium?.catch(() => undefined))?.close() })

const evaluate = async (): Promise<Evaluate> => {
  chromium ??= launch()
  const browser = await chromium
  return async (url, expression) => {
    const page = await browser.newPage()
    await page.goto(url)
    return page.evaluate(expression).finally(() => page.close())
  }
}

for (const [name, body] of Object.entries(crossOriginTests(evaluate))) browserTest(`Chromium: ${name}`, body)
