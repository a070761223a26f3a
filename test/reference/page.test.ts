// `/docs` over HTTP; in a browser: test/browser/reference.test.ts.

import t from 'tap'
import { openapiDocument } from '../../src/reference/document.ts'
import { startApp } from '../support/app.ts'
import { serveReference } from '../support/reference.ts'

t.test('/openapi.json is the document', async (t) => {
  const response = await fetch(`${await serveReference(t)}/openapi.json`)
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
  const response = await fetch(`${await serveReference(t)}/docs`)
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
