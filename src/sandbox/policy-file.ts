// The policy file for Ephemint: ephemint.yaml itself, so that edits apply at once, or a changed copy if ports or routes
// differ.

import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { isMap, parseDocument, type YAMLMap, type YAMLSeq } from 'yaml'

const SOURCE = fileURLToPath(new URL('./ephemint.yaml', import.meta.url))
/** The issuer that ephemint.yaml names. */
const WRITTEN_ISSUER = 'http://127.0.0.1:8101'

export type PreparedPolicyFile = Readonly<{ path: string, remove: () => Promise<void> }>

/** `legacyOnly`: with OPENAI_MINT_API=sessions there are no translations and no calls: policies may not grant them. */
export async function preparePolicyFile (
  { issuer, legacyOnly }: { issuer: string, legacyOnly: boolean }
): Promise<PreparedPolicyFile> {
  if (issuer === WRITTEN_ISSUER && !legacyOnly) return { path: SOURCE, remove: async () => {} }

  const document = parseDocument((await readFile(SOURCE, 'utf8')).replaceAll(WRITTEN_ISSUER, issuer))
  for (const policy of (document.get('policies') as YAMLSeq<YAMLMap>).items) {
    if (!legacyOnly || !isMap(policy)) continue
    policy.delete('translation')
    policy.deleteIn(['realtime', 'calls'])
    policy.deleteIn(['limits', 'call_seconds'])
  }
  const folder = await mkdtemp(join(tmpdir(), 'ephemint-'))
  const path = join(folder, 'ephemint.yaml')
  await writeFile(path, document.toString())
  return { path, remove: () => rm(folder, { recursive: true }) }
}
