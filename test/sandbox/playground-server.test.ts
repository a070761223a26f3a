// The server of the playground. The page itself is tested in test/browser.

import { globSync } from 'node:fs'
import t from 'tap'
import { type PlaygroundConfig, startPlayground } from '../../src/sandbox/playground.ts'
import { createSidebandFeed } from '../../src/sandbox/sideband-feed.ts'

const feed = createSidebandFeed()

t.test('only the files of the page are served', async (t) => {
  const { origin, close } = await startPlayground({ config: () => null, feed })
  t.teardown(close)
  for (const path of ['/index.html', '/../main.ts', '/%2e%2e/main.ts', '/playground.ts']) {
    t.equal((await fetch(origin + path)).status, 404, path)
  }
  const page = await fetch(origin)
  t.equal(page.headers.get('content-type'), 'text/html; charset=utf-8')
  t.match(page.headers.get('content-security-policy'), /^default-src 'none'; script-src 'self';/)
  const files = [...(await page.text()).matchAll(/(?:src|href)="([\w.]+)"/g)].map(([, name]) => name as string)
  t.ok(files.includes('main.js') && files.includes('style.css'))
  for (const file of new Set(files)) t.equal((await fetch(`${origin}/${file}`)).status, 200, file)
})

t.test('no script of the page turns data into markup', async (t) => {
  const { origin, close } = await startPlayground({ config: () => null, feed })
  t.teardown(close)
  const scripts = globSync('*.js', { cwd: new URL('../../src/sandbox/playground', import.meta.url) })
  t.ok(scripts.includes('main.js'))
  for (const file of scripts) {
    const response = await fetch(`${origin}/${file}`)
    t.equal(response.headers.get('content-type'), 'text/javascript; charset=utf-8', file)
    t.notMatch(
      await response.text(),
      /innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|\beval\b|localStorage|sessionStorage/,
      file
    )
  }
})

t.test('config.json has the address of Ephemint as soon as it is known', async (t) => {
  let config: PlaygroundConfig | null = null
  const { origin, close } = await startPlayground({ config: () => config, feed })
  t.teardown(close)
  const readConfig = async () => (await fetch(`${origin}/config.json`)).json()
  t.equal(await readConfig(), null)
  config = { mintUrl: 'http://127.0.0.1:1/v1', identityProviderUrl: 'http://127.0.0.1:2', isReal: false }
  t.same(await readConfig(), config)
})
