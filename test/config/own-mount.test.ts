// O13: a single file that is mounted never changes where an editor replaces it, so the start and check-config say so.

import { spawnSync } from 'node:child_process'
import { mkdirSync, renameSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { ownMounts } from '../../src/config/own-mount.ts'
import { CANARIES, POLICY } from '../support/app.ts'
import { makeFolder } from '../support/processes.ts'
import { startService } from '../support/service.ts'
import { startUpstream } from '../support/upstream.ts'

const TEXT = /^a file is mounted by itself: the old one stays where an editor replaces it/
const inNamespace = (script: string) => ['unshare', '--mount', 'sh', '-c', `${script} && exec "$@"`, 'sh']
const [command, ...rest] = inNamespace('mount --bind / /') as [string, ...string[]]
const mayMount = spawnSync(command, [...rest, 'true']).status === 0
const skip = mayMount || process.env.CI === 'true' ? false : 'this user may not mount'

t.test('operate O13: a file in a folder that is mounted is none, nor one that is not there', async (t) => {
  const folder = makeFolder(t)
  writeFileSync(join(folder, 'ephemint.yaml'), POLICY)
  symlinkSync('/proc', join(folder, 'link'))
  t.same(ownMounts([join(folder, 'ephemint.yaml'), '/proc/self/status']), [])
  t.same(ownMounts(['/nowhere', '/proc']), [])
  t.same(ownMounts(['/proc', join(folder, 'link')]), ['/proc', join(folder, 'link')], 'by the real path')
})

t.test('operate O13: the start and check-config name a file that is a mount of its own', { skip }, async (t) => {
  const upstream = await startUpstream(t)
  const folder = join(makeFolder(t), 'ein Ordner\\ä')
  mkdirSync(folder)
  const at = (name: string) => join(folder, name)
  const texts = { 'a.yaml': POLICY, 'ephemint.yaml': '', key: CANARIES.OPENAI_API_KEY, 'key.2': '' }
  for (const [name, text] of Object.entries(texts)) writeFileSync(at(name), text)
  const over = (from: string, to: string) => `mount --bind '${at(from)}' '${at(to)}'`
  const mounts = `${over('a.yaml', 'ephemint.yaml')} && ${over('key', 'key.2')}`
  const env = { EPHEMINT_CONFIG: at('ephemint.yaml'), OPENAI_API_KEY: '', OPENAI_API_KEY_FILE: at('key.2') }
  const service = await startService(t, { upstreamUrl: upstream.url, command: inNamespace(mounts), env })
  const named = service.log.filter(({ msg }) => TEXT.test(String(msg)))
  t.match(named, [{ level: 'warn', file: at('ephemint.yaml') }, { file: at('key.2') }])
  t.equal(named.length, 2)

  const [program, ...args] = inNamespace(mounts) as [string, ...string[]]
  const checked = spawnSync(program, [
    ...args, process.execPath, join(import.meta.dirname, '../../src/commands/check-config.ts'), at('ephemint.yaml')
  ], { env: { PATH: process.env.PATH, ...CANARIES }, encoding: 'utf8' })
  t.equal(checked.status, 0, checked.stderr)
  t.match(checked.stdout, `warning  ${at('ephemint.yaml')} is mounted by itself`)

  renameSync(at('a.yaml'), at('ephemint.yaml'))
  const whole = await startService(t, {
    upstreamUrl: upstream.url,
    command: inNamespace(`mount --bind '${folder}' '${folder}'`),
    env: { ...env, OPENAI_API_KEY_FILE: at('key') }
  })
  t.same(whole.log.filter(({ msg }) => TEXT.test(String(msg))), [], 'the folder is')
})
