// nginx with the script and the configuration that compose mounts; only hosts and ports are replaced.

import { execFileSync, spawn } from 'node:child_process'
import {
  chmodSync, closeSync, copyFileSync, mkdirSync, openSync, readdirSync, readFileSync, writeFileSync
} from 'node:fs'
import { dirname, join } from 'node:path'
import type { Owner } from './fault-proxy.ts'
import { endWith, freePort, makeFolder } from './processes.ts'
import { program } from './programs.ts'
import { until } from './until.ts'

const NGINX = program(['nginx'], 'nginx')
export const NO_NGINX = NGINX.skip
const DEPLOY = join(import.meta.dirname, '../../deploy')

export type Gateway = Readonly<{
  url: string
  port: number
  accessLog: () => string
  /** The folder that stands for /tmp. */
  prefix: string
  reload: () => void
  /** The files under a folder of nginx' prefix. */
  files: (folder: string) => string[]
}>

/** `replicas` are URLs. `change` edits the configuration. `origins` are `CORS_ORIGINS`. */
export async function startNginx (
  owner: Owner,
  replicas: readonly [string, string],
  change: (config: string) => string = (config) => config,
  origins = ''
): Promise<Gateway> {
  const path = NGINX.path()
  const folder = makeFolder(owner)
  // Where root starts nginx, its workers run as another user.
  chmodSync(folder, 0o755)
  const port = await freePort()
  const [one, two] = replicas.map((url) => new URL(url).host) as [string, string]
  const config = change(readFileSync(join(DEPLOY, 'nginx.conf'), 'utf8'))
    .replaceAll('ephemint-1:8080', one)
    .replaceAll('ephemint-2:8080', two)
    .replaceAll('-f /tmp/', `-f ${folder}/`)
    .replace('listen 8080;', `listen 127.0.0.1:${port};`)
  const given = join(folder, 'given')
  mkdirSync(given)
  writeFileSync(join(given, 'nginx.conf'), config)
  copyFileSync(join(DEPLOY, 'nginx.sh'), join(given, 'nginx.sh'))
  const log = join(folder, 'access.log')
  const stdout = openSync(log, 'a', 0o666)
  const env = { PATH: `${dirname(path)}:${process.env.PATH}`, TMPDIR: folder, CORS_ORIGINS: origins }
  const run = [join(given, 'nginx.sh')]
  const child = spawn('sh', [...run, '-g', 'daemon off;'], { env, stdio: ['ignore', stdout, 'pipe'] as const })
  closeSync(stdout)
  let printed = ''
  child.stderr?.on('data', (chunk) => { printed += chunk })
  endWith(owner, child, 'SIGTERM')
  const url = `http://127.0.0.1:${port}`
  await until('nginx to listen', () => {
    if (child.exitCode !== null) throw new Error(`nginx ended: ${printed}`)
    return fetch(`${url}/livez`).then(() => true, () => false)
  })
  return {
    url,
    port,
    prefix: folder,
    reload: () => { execFileSync('sh', [...run, '-s', 'reload'], { env, stdio: 'ignore' }) },
    accessLog: () => readFileSync(log, 'utf8'),
    files: (name) => readdirSync(join(folder, name), { recursive: true, withFileTypes: true }).filter(
      (entry) => entry.isFile()
    ).map(({ name }) => name)
  }
}
