// The server of the playground. The page itself is tested in test/browser.

import { globSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { createChangeRules } from '../../src/sandbox/change-rules.ts'
import { type PlaygroundConfig, startPlayground } from '../../src/sandbox/playground.ts'
import { createSidebandFeed } from '../../src/sandbox/sideband-feed.ts'

const feed = createSidebandFeed()
const rules = createChangeRules(() => 'unread')
const POLICIES = `
policies:
  - { name: strict, realtime: { calls: { on_change: end } } }
  - { name: silent, realtime: { calls: {} } }
`

t.test('only the files of the page are served', async (t) => {
  const { origin, close } = await startPlayground({ config: () => null, feed, rules })
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
  const { origin, close } = await startPlayground({ config: () => null, feed, rules })
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
  const { origin, close } = await startPlayground({ config: () => config, feed, rules })
  t.teardown(close)
  const readConfig = async () => (await fetch(`${origin}/config.json`)).json()
  t.equal(await readConfig(), null)
  config = { mintUrl: 'http://127.0.0.1:1/v1', identityProviderUrl: 'http://127.0.0.1:2', isReal: false }
  t.same(await readConfig(), config)
})

t.test('the page of a call gets its policy\'s rule for changes, once the start of the call is written', async (t) => {
  const file = join(t.testdir({ 'ephemint.yaml': POLICIES }), 'ephemint.yaml')
  const rules = createChangeRules(() => file)
  const { origin, close } = await startPlayground({ config: () => null, feed, rules })
  t.teardown(close)
  const rule = (id: string) => fetch(`${origin}/calls/${id}/rule`)
  const unknown = rule('rtc_unknown')
  const asked = [rule('rtc_1'), rule('rtc_2'), rule('rtc_3')]
  rules.put({ event: 'call.ended', call_id: 'rtc_unknown', policy: 'strict' })
  rules.put({ event: 'call.started', call_id: 'rtc_1', policy: 'strict' })
  rules.put({ event: 'call.started', call_id: 'rtc_2', policy: 'silent' })
  await Promise.all(asked.slice(0, 2))
  await writeFile(file, 'policies: [')
  rules.put({ event: 'call.started', call_id: 'rtc_3', policy: 'strict' })
  const [first, second, third] = await Promise.all(asked) as [Response, Response, Response]
  t.same(await first.json(), { policy: 'strict', on_change: 'end' })
  t.same(await second.json(), { policy: 'silent', on_change: 'restore' }, 'the default')
  t.equal(third.status, 404, 'the file is being edited')
  t.equal((await unknown).status, 404)
})
