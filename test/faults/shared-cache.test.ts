// Attack G20: two users behind a shared cache that ignores `no-store`.

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { type AddressInfo, createServer } from 'node:net'
import t from 'tap'
import { startApp } from '../support/app.ts'
import { program } from '../support/programs.ts'
import { until } from '../support/until.ts'

const nginx = program(['nginx'], 'nginx')
const TEMPORARY = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']

const configFor = (folder: string, port: number, behind: number) => `
daemon off; pid ${folder}/pid; error_log ${folder}/error.log;
events {}
http {
  access_log off;
  proxy_cache_path ${folder}/cache keys_zone=all:1m;
  ${TEMPORARY.map((name) => `${name}_temp_path ${folder}/${name};`).join(' ')}
  server {
    listen 127.0.0.1:${port};
    location / {
      proxy_pass http://127.0.0.1:${behind};
      proxy_cache all; proxy_cache_methods POST; proxy_cache_key $uri; proxy_cache_valid any 1m;
      proxy_ignore_headers Cache-Control Expires;
      add_header X-Cache $upstream_cache_status;
    }
  }
}
`

t.test('G20: a mint is only a POST, with no-store and Vary', async (t) => {
  const app = await startApp(t)
  const { headers } = await app.mint('client_secrets')
  t.equal(headers.get('cache-control'), 'no-store')
  t.equal(headers.get('vary'), 'Authorization, Origin')
  t.equal((await app.request(
    '/v1/realtime/client_secrets', { headers: { authorization: `Bearer ${await app.token()}` } }
  )).status, 405)
})

t.test('G20: no user gets another user\'s secret from the cache', { skip: nginx.skip }, async (t) => {
  const app = await startApp(t)
  const free = createServer().listen(0, '127.0.0.1')
  await once(free, 'listening')
  const { port } = free.address() as AddressInfo
  free.close()
  const folder = t.testdir({})
  writeFileSync(`${folder}/nginx.conf`, configFor(folder, port, app.port))
  const running = spawn(nginx.path(), ['-c', `${folder}/nginx.conf`, '-e', `${folder}/error.log`], { stdio: 'ignore' })
  t.teardown(async () => {
    running.kill('SIGTERM')
    await once(running, 'exit')
  })
  const mintAs = async (sub: string) => {
    const response = await fetch(
      `http://127.0.0.1:${port}/v1/realtime/client_secrets`,
      { method: 'POST', headers: { authorization: `Bearer ${await app.token({ sub })}` } }
    )
    const { value } = await response.json() as { value: string }
    return { value, status: response.status, cache: response.headers.get('x-cache') }
  }
  await until('nginx', () => fetch(`http://127.0.0.1:${port}/livez`).then(({ ok }) => ok, () => false))
  const ada = await mintAs('ada')
  t.equal(ada.status, 200)
  t.equal(ada.cache, 'MISS', 'the cache is at work')
  const bob = await mintAs('bob')
  t.equal(bob.status, 200)
  t.not(bob.value, ada.value)
  const refused = await fetch(`http://127.0.0.1:${port}/v1/realtime/client_secrets`, { method: 'POST' })
  t.equal(refused.status, 401)
})
