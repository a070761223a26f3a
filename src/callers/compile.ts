// Inputs for compiling the entries under `callers`, and reading their secrets.

import type { Clock } from '../clock.ts'
import type { Origins } from '../config/origins.ts'
import type { SecretSource } from '../config/secrets.ts'
import type { SendRequest } from '../outbound/request.ts'
import type { PlainLog } from '../records/log.ts'
import type { Report } from '../schema/report.ts'
import type { KeySets } from './jwks.ts'

export type CompileDeps = Readonly<{
  secrets: SecretSource
  log: PlainLog
  allowedOrigins: Origins
  /** Shared across reloads of the policy file, so fetched keys are kept. */
  keySets: KeySets
  clock?: Clock
  /** By the proxies of the environment; without it directly. */
  send?: SendRequest
}>

/** `report` takes problems by their path in the file. */
export type CompileContext = Required<CompileDeps> & Readonly<{ report: Report }>

export type NamedSecret = Readonly<{ path: string, name: string, value: string }>

/** Values of an entry's `<key>_env` and `<key>_file`; unreadable ones are reported. */
export function readSecrets (
  entry: object, key: 'secret' | 'client_secret', at: string, { secrets, report }: CompileContext
): NamedSecret[] {
  return (['env', 'file'] as const).flatMap((where) => {
    const named = (entry as Record<string, string | string[] | undefined>)[`${key}_${where}`] ?? []
    return [named].flat().flatMap((name, i) => {
      const path = `${at}.${key}_${where}${Array.isArray(named) ? `.${i}` : ''}`
      try {
        return [{ path, name, value: secrets[where](name) }]
      } catch (error) {
        report.problem(path, (error as Error).message)
        return []
      }
    })
  })
}

/** For entries that take exactly one secret. */
export function readOneSecret (
  entry: object, key: 'secret' | 'client_secret', at: string, context: CompileContext
): string {
  const { [`${key}_env`]: name, [`${key}_file`]: file } = entry as Record<string, unknown>
  if ((name === undefined) === (file === undefined)) {
    context.report.problem(`${at}.${key}_env`, `must be given by exactly one of ${key}_env and ${key}_file`)
  }
  return readSecrets(entry, key, at, context)[0]?.value ?? ''
}
