// `/docs` over HTTP and in a browser.

import t, { type Test } from 'tap'
import { buildOps } from '../../src/ops.ts'
import { createLogger } from '../../src/records/log.ts'
import { createMetrics } from '../../src/records/metrics.ts'
import { openapiDocument } from '../../src/reference/document.ts'
import { barriersOf, browserTest } from '../browser/chromium.ts'
import { visit } from '../browser/sandbox.ts'
import { startApp } from '../support/app.ts'
import { keepLines } from '../support/lines.ts'

// The browser is slow on a busy machine.

async function serve (t: Test): Promise<string> {
  const ops = await buildOps({ log: createLogger('info', keepLines()), metrics: createMetrics(), waitingFor: () => [] })
  t.teardown(() => ops.close())
  return ops.listen({ port: 0, host: '127.0.0.1' })
}

t.test('/openapi.json is the document', async (t) => {
  const response = await fetch(`${await serve(t)}/openapi.json`)
  t.equal(response.status, 200)
  t.match(response.headers.get('content-type'), /^application\/json/)
  t.same(await response.json(), openapiDocument())
})

t.test('the public listener has neither /openapi.json nor /docs', async (t) => {
  const app = await startApp(t)
  for (const path of ['/docs', '/openapi.json']) {
    t.match(await app.request(path), { status: 404, body: { error: { code: 'not_found' } } })
  }
})

t.test('/docs has no script, may fetch nothing, and links to no other host', async (t) => {
  const response = await fetch(`${await serve(t)}/docs`)
  const html = await response.text()
  t.equal(response.status, 200)
  t.match(response.headers.get('content-type'), /^text\/html/)
  t.match(response.headers.get('content-security-policy'), /^default-src 'none'; style-src 'sha256-/)
  t.notMatch(html, /<script|javascript:|\son\w+=/i)
  const targets = [...html.matchAll(/\s(?:src|href)="([^"]*)"/g)].map(([, target]) => target as string)
  t.same(targets.filter((target) => !/^(#|openapi\.json$|data:,$)/.test(target)), [])
  const ids = new Set([...html.matchAll(/\sid="([^"]*)"/g)].map(([, id]) => `#${id}`))
  t.same(targets.filter((target) => target.startsWith('#') && !ids.has(target)), [], 'every link leads to something')
})

browserTest('in a browser /docs loads nothing else, logs nothing, and is accessible', async (t) => {
  const url = await serve(t)
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
