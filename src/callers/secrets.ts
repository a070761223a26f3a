import type { Report } from '../policy/rules.ts'
import type { SecretSource } from './entries.ts'

/** What compiling an entry needs from outside. */
export type Compiling = Readonly<{ secrets: SecretSource, report: Report }>

export type NamedSecret = Readonly<{ path: string, name: string, value: string }>

/** The secrets behind `<key>_env` and `<key>_file` of an entry; what cannot be read is reported. */
export function readSecrets (entry: object, key: 'secret' | 'client_secret', at: string, { secrets, report }: Compiling): NamedSecret[] {
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
