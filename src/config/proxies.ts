// HTTPS_PROXY, HTTP_PROXY and NO_PROXY. Libraries that read them by themselves are never asked to.

import { isMetadataHost, METADATA_HOST } from './hosts.ts'
import type { Environment } from './secrets.ts'

/** A URL may carry a password. */
export type Proxies = Readonly<{
  https: URL | null
  http: URL | null
  /** The entries of NO_PROXY. */
  exempt: readonly string[]
}>

export const NO_PROXIES: Proxies = { https: null, http: null, exempt: [] }

export function readProxies (env: Environment, problem: (name: string, text: string) => void): Proxies {
  const read = (upper: string): URL | null => {
    const [name, given = ''] = either(env, upper)
    if (given === '') return null
    const url = URL.parse(given)
    const fault = url === null ? NOT_A_PROXY : faultOf(url)
    if (fault !== null) problem(name, fault)
    return url
  }
  return {
    https: read('HTTPS_PROXY'),
    http: read('HTTP_PROXY'),
    exempt: (either(env, 'NO_PROXY')[1] ?? '').toLowerCase().split(/[\s,]+/).filter(Boolean)
  }
}

const NOT_A_PROXY = 'must be the URL of a proxy, such as http://proxy.example.com:3128'

/** The upper case goes before the lower one, as long as it is not empty. */
function either (env: Environment, upper: string): readonly [name: string, value: string | undefined] {
  const lower = upper.toLowerCase()
  return env[upper] ? [upper, env[upper]] : [lower, env[lower]]
}

function faultOf (url: URL): string | null {
  if (!/^https?:$/.test(url.protocol) || url.pathname !== '/' || url.search !== '' || url.hash !== '') {
    return NOT_A_PROXY
  }
  if (isMetadataHost(url.hostname)) return METADATA_HOST
  try {
    decodeURIComponent(url.username + url.password)
    return null
  } catch {
    return 'has a user or a password that is not percent-encoded'
  }
}
