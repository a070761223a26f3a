// `/docs` in a browser.

import { serveReference } from '../support/reference.ts'
import { barriersOf, browserTest } from './chromium.ts'
import { visit } from './sandbox.ts'

browserTest('in a browser /docs loads nothing else, logs nothing, and is accessible', async (t) => {
  const url = await serveReference(t)
  for (const [width, colorScheme] of [[1280, 'light'], [360, 'dark']] as const) {
    await visit(t, 'about:blank', { viewport: { width, height: 900 }, colorScheme }, async (page) => {
      const asked: string[] = []
      page.on('request', (request) => asked.push(request.url()))
      await page.goto(`${url}/docs`)
      t.same(asked.filter((one) => one !== `${url}/docs` && one !== 'data:,'), [], `${width} px, ${colorScheme}`)
      t.equal(
        await page.evaluate('document.documentElement.scrollWidth - innerWidth'), 0, 'nothing is wider than the window'
      )
      t.same(await barriersOf(page), [])
      await page.getByRole('navigation').getByRole('link', { name: 'RealtimeSession', exact: true }).click()
      t.equal(new URL(page.url()).hash, '#schema-RealtimeSession')
    })
  }
})
