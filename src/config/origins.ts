// Origins of the pages that may call: exact, of any scheme, or http(s) with one `*` in the first label of the host.

/** A Set of exact origins is one too. */
export type Origins = Readonly<{
  has: (origin: string) => boolean
  size: number
  values: () => Iterable<string>
  /** The entries with a `*`. */
  patterns?: readonly string[]
}>

/** Pages of these schemes send `Origin: null`, and so can a page of anyone, from a sandboxed frame. */
const WITHOUT_ORIGIN = /^(null|file|data|blob|about|javascript|filesystem)(:|$)/i
/** Where a browser does not know the scheme, it takes any text as the host. */
const HOST_PATTERN = /^[\w.~[\]:-]+$/
/** Literal text beside the `*`, and two labels or more behind the first. */
const PATTERN = /^https?:\/\/(?=[^.]*[a-z0-9])([a-z0-9-]*)\*([a-z0-9-]*)((?:\.[a-z0-9-]+){2,})(:\d+)?$/
const WILDCARD_TEXT = /^[a-z0-9-]+$/

/**
 * Hosts that anyone can have a page under, by label: behind the first one, or wherever it is for those with a dot in
 * front. Not complete: hosting providers come and go.
 */
const SHARED_HOSTS = [
  'vercel.app', 'now.sh', 'netlify.app', 'pages.dev', 'workers.dev', 'github.io', 'gitlab.io', 'web.app',
  'firebaseapp.com', 'herokuapp.com', 'onrender.com', 'fly.dev', 'deno.dev', 'surge.sh', 'up.railway.app',
  'appspot.com', 'a.run.app', 'cloudfront.net', 'glitch.me', 'replit.app', 'lovable.app', 'hf.space', 'framer.app',
  'webflow.io', 'bitbucket.io', 'ngrok.io', 'ngrok.app', 'ngrok-free.app', 'trycloudflare.com', 'loca.lt',
  'app.github.dev', 'csb.app', 'stackblitz.io', 'webcontainer.io', 'gitpod.io', 'translate.goog', 'nip.io', 'sslip.io',
  '.amplifyapp.com', '.amazonaws.com', '.elasticbeanstalk.com', '.azurestaticapps.net', '.azurewebsites.net',
  '.azurecontainerapps.io', '.cloudapp.azure.com', '.core.windows.net', '.digitaloceanspaces.com', '.ondigitalocean.app'
]
/** Registries whose names have two labels: `co.uk`, `com.au`. */
const REGISTRY = /^(ac|co|com|edu|gov|ne|net|nom|or|org|web)\.[a-z]{2}$/

/** `fault` takes the number of an entry, from 1, and what is wrong with it. */
export function readOrigins (list: string, fault: (entry: number, problem: string) => void): Origins {
  const exact = new Set<string>()
  const patterns: string[] = []
  for (const [i, entry] of list.split(',').map((one) => one.trim()).filter(Boolean).entries()) {
    const problem = entry.includes('*') ? patternFault(entry) : originFault(entry)
    if (problem !== null) fault(i + 1, problem)
    else if (entry.includes('*')) patterns.push(entry)
    else exact.add(entry)
  }
  if (patterns.length === 0) return exact
  const matchers = patterns.map(matcherOf)
  return {
    has: (origin) => exact.has(origin) || matchers.some((matches) => matches(origin)),
    size: exact.size + patterns.length,
    values: () => [...exact, ...patterns],
    patterns
  }
}

/** Whether people other than the operator can get a host that the pattern matches. */
export function isShared (pattern: string): boolean {
  const host = pattern.replace(/^[^.]*\.|:\d+$/g, '')
  return REGISTRY.test(host) ||
    SHARED_HOSTS.some((shared) => host === shared || (shared.startsWith('.') && host.endsWith(shared)))
}

function originFault (entry: string): string | null {
  if (WITHOUT_ORIGIN.test(entry)) {
    return 'is not an exact origin: such pages send null, which a page of anyone can send too. Serve the page by https'
  }
  if (/^(wss?|ftp):/.test(entry)) return 'is not an exact origin: pages have one that begins with http or https'
  return isExact(entry)
    ? null
    : 'is not an exact origin such as https://app.example.com or capacitor://localhost ' +
      '(no path, no default port, in lower case)'
}

function patternFault (entry: string): string | null {
  return PATTERN.test(entry) && isExact(entry.replace('*', 'a'))
    ? null
    : 'is not an exact origin, nor a pattern such as https://app-*.example.com ' +
      '(one * in the first label, with text beside it, and two labels or more behind)'
}

function isExact (entry: string): boolean {
  const url = URL.parse(entry)
  return url !== null && HOST_PATTERN.test(url.host) && entry === `${url.protocol}//${url.host}`
}

function matcherOf (pattern: string): (origin: string) => boolean {
  const [before = '', after = ''] = pattern.split('*')
  return (origin) => origin.startsWith(before) && origin.endsWith(after) &&
    WILDCARD_TEXT.test(origin.slice(before.length, origin.length - after.length))
}
