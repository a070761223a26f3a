// nginx with the configuration that compose mounts; only hosts and ports are replaced.

import { spawn } from 'node:child_process'
import { chmodSync, closeSync, openSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Owner } from './fault-proxy.ts'
import { endWith, freePort, makeFolder } from './processes.ts'
import { program } from './programs.ts'
import { until } from './until.ts'

const NGINX = program(['nginx'], 'nginx')
export const NO_NGINX = NGINX.skip
const CONFIG = join(import.meta.dirname, '../../deploy/nginx.conf')

export type Gateway = Readonly<{
  url: string
  accessLog: () => string
  /** The files under a folder of its prefix. */
  files: (folder: string) => string[]
}>

/** `replicas` are URLs. `change` edits the configuration. */
export async function startNginx (
  owner: Owner, replicas: readonly [string, string], change: (config: string) => string = (config) => config
): Promise<Gateway> {
  const path = NGINX.path()
  const folder = makeFolder(owner)
  // Started by root, its workers run as another user.
  chmodSync(folder, 0o755)
  const port = await freePort()
  const [one, two] = replicas.map((url) => new URL(url).host) as [string, string]
  const config = change(readFileSync(CONFIG, 'utf8'))
    .replace('ephemint-1:8080', one)
    .replace('ephemint-2:8080', two)
    .replace('listen 8080;', `listen 127.0.0.1:${port};`)
  writeFileSync(join(folder, 'nginx.conf'), config)
  const log = join(folder, 'access.log')
  const stdout = openSync(log, 'a', 0o666)
  const child = spawn(
    path,
    ['-e', 'stderr', '-p', `${folder}/`, '-c', join(folder, 'nginx.conf'), '-g', 'daemon off;'],
    { stdio: ['ignore', stdout, 'pipe'] as const }
  )
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
    accessLog: () => readFileSync(log, 'utf8'),
    files: (name) => readdirSync(join(folder, name), { recursive: true, withFileTypes: true }).filter(
      (entry) => entry.isFile()
    ).map(({ name }) => name)
  }
}
