// What compiling the entries under `callers` needs, and their secrets.

import type { Clock } from '../clock.ts'
import type { SecretSource } from '../config/secrets.ts'
import type { PlainLog } from '../records/log.ts'
import type { Report } from '../schema/report.ts'
import type { KeySets } from './jwks.ts'

export type CompileDeps = Readonly<{
  secrets: SecretSource
  log: PlainLog
  allowedOrigins: ReadonlySet<string>
  /** Outlives a policy: the next one finds the keys that this one fetched. */
  keySets: KeySets
  clock?: Clock
}>

/** What compiling one entry needs: `report` takes what is wrong with it, by its path in the file. */
export type Compiling = Required<CompileDeps> & Readonly<{ report: Report }>

export type NamedSecret = Readonly<{ path: string, name: string, value: string }>

/** The values behind `<key>_env` and `<key>_file` of an entry; one that cannot be read is reported. */
export function readSecrets (
  entry: object, key: 'secret' | 'client_secret', at: string, { secrets, report }: Compiling
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

/** The same of an entry that takes exactly one. */
export function readSecret (entry: object, key: 'secret' | 'client_secret', at: string, compiling: Compiling): string {
  const { [`${key}_env`]: name, [`${key}_file`]: file } = entry as Record<string, unknown>
  if ((name === undefined) === (file === undefined)) {
    compiling.report.problem(`${at}.${key}_env`, `must be given by exactly one of ${key}_env and ${key}_file`)
  }
  return readSecrets(entry, key, at, compiling)[0]?.value ?? ''
}
