// The policy file that Ephemint is given: the one beside this, so that editing it shows at once, or a copy where it
// has to say something else.

import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { isMap, parseDocument, type YAMLMap, type YAMLSeq } from 'yaml'

const SOURCE = fileURLToPath(new URL('./ephemint.yaml', import.meta.url))
/** Where the file says that the identity provider is. */
const WRITTEN_ISSUER = 'http://127.0.0.1:8101'

export type PreparedPolicyFile = Readonly<{ path: string, remove: () => Promise<void> }>

/** `legacyOnly`: an upstream of OPENAI_MINT_API=sessions cannot mint translations, and a policy must not promise them. */
export async function preparePolicyFile (
  { issuer, legacyOnly }: { issuer: string, legacyOnly: boolean }
): Promise<PreparedPolicyFile> {
  if (issuer === WRITTEN_ISSUER && !legacyOnly) return { path: SOURCE, remove: async () => {} }

  const document = parseDocument((await readFile(SOURCE, 'utf8')).replaceAll(WRITTEN_ISSUER, issuer))
  for (const policy of (document.get('policies') as YAMLSeq<YAMLMap>).items) {
    if (legacyOnly && isMap(policy)) policy.delete('translation')
  }
  const folder = await mkdtemp(join(tmpdir(), 'ephemint-'))
  const path = join(folder, 'ephemint.yaml')
  await writeFile(path, document.toString())
  return { path, remove: () => rm(folder, { recursive: true }) }
}
