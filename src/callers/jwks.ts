// The public keys of one issuer: fetched before anyone needs them, kept while the issuer is down, and never longer than said.
// jose finds and imports keys. Its remote set is not used: it drops keys that it holds when a refresh fails, asks an issuer
// that is down without a pause, and goes by the wall clock.

import { KeyObject } from 'node:crypto'
import { createLocalJWKSet, type CryptoKey, errors, type JSONWebKeySet } from 'jose'
import { type Clock, systemClock } from '../clock.ts'
import { isObject, type JsonObject } from '../json.ts'
import { addressFault, call, OutboundError, readObject } from '../outbound/request.ts'
import type { PlainLog } from '../records/log.ts'
import { unavailable } from './caller.ts'
import { ALGORITHMS } from './schema.ts'
import { createWaitingRoom } from './waiting.ts'

/** A key that leaves the set is refused within this, and the 60 s for which a verified token is remembered. */
const REFRESH_MS = 5 * 60_000
const MAX_STALE_MS = 60 * 60_000
const RETRY_MS = { first: 1_000, last: 30_000 }
/** Anyone can name a key that does not exist; that brings the issuer one fetch in this time, not one for each. */
const UNKNOWN_KEY_COOLDOWN_MS = 30_000
const FETCH_TIMEOUT_MS = 5_000
const MAX_BYTES = 100 * 1024
const MAX_KEYS = 100
/** A token without `kid` is tried against this many keys. */
const MAX_CANDIDATES = 5
const MIN_MODULUS_BITS = 2048
/** With an exponent of 1 everyone can sign; an even one is none of RSA's. */
const MIN_EXPONENT = 3n

export type KeySource = Readonly<{
  issuer: string
  /** Where the set is; undefined where the issuer's discovery document says it. */
  jwks: string | undefined
  insecureHttp: boolean
}>

export type KeySet = Readonly<{
  issuer: string
  /** The keys that may have signed; none where the issuer has no such key. Throws ApiError `identity_unavailable`. */
  find: (header: Header) => Promise<readonly KeyObject[]>
  wasFetched: () => boolean
  /** Since they were fetched; Infinity before. */
  ageMs: () => number
  /** Keeps the set fresh until `close`; resolves once the issuer was asked. */
  open: () => Promise<void>
  close: () => void
}>

/** The sets of a process: a policy that is loaded anew finds the keys that the last one fetched. */
export type KeySets = (source: KeySource) => KeySet

export function createKeySets ({ log, clock = systemClock }: { log: PlainLog, clock?: Clock }): KeySets {
  const sets = new Map<string, KeySet>()
  return (source) => {
    const name = JSON.stringify([source.issuer, source.jwks, source.insecureHttp])
    const set = sets.get(name) ?? createKeySet(source, log, clock)
    sets.set(name, set)
    return set
  }
}

function createKeySet (source: KeySource, log: PlainLog, { monotonicMs: now, after }: Clock): KeySet {
  const { issuer } = source
  let keys: Keys | undefined
  let fetchedAt = -Infinity
  let searchedAt = -Infinity
  let retryAt = -Infinity
  let failures = 0
  let users = 0
  let fetching: Promise<void> | undefined
  let cancelNext = () => {}
  const waitingRoom = createWaitingRoom('keys_busy')

  /** Never rejects. Whoever asks meanwhile waits for the same fetch, so an older answer cannot replace a newer one. */
  function refresh (): Promise<void> {
    cancelNext()
    fetching ??= fetchOnce()
    return fetching
  }

  async function fetchOnce (): Promise<void> {
    let nextMs = REFRESH_MS
    try {
      keys = await fetchKeys(source)
      fetchedAt = now()
      if (failures > 0) log.info({ issuer, failures }, 'keys fetched again')
      failures = 0
    } catch (error) {
      nextMs = Math.min(RETRY_MS.last, RETRY_MS.first * 2 ** failures++) * (0.5 + Math.random() / 2)
      retryAt = now() + nextMs
      log.warn(
        { issuer, reason: (error as OutboundError).message, failures, hasKeys: isGood() }, 'keys could not be fetched'
      )
    }
    fetching = undefined
    if (users > 0) cancelNext = after(nextMs, refresh)
  }

  const isGood = () => now() - fetchedAt <= MAX_STALE_MS
  const isPaused = () => now() < retryAt
  const cannotSay = () => unavailable('keys_unavailable', Math.max(1, Math.ceil((retryAt - now()) / 1000)))

  return {
    issuer,
    wasFetched: () => keys !== undefined,
    ageMs: () => now() - fetchedAt,
    open: async () => {
      users++
      if (keys === undefined || users === 1) await refresh()
    },
    close: () => {
      users--
      if (users === 0) cancelNext()
    },
    find: async (header) => {
      if (!isGood() && !isPaused()) await waitingRoom(refresh)
      if (keys === undefined || !isGood()) throw cannotSay()
      const known = keys.found.get(nameOf(header)) ?? await candidates(keys, header)
      if (known.length > 0) return known
      if (fetching === undefined) {
        if (isPaused()) throw cannotSay()
        if (failures === 0 && now() - searchedAt < UNKNOWN_KEY_COOLDOWN_MS) return []
        searchedAt = now()
      }
      await waitingRoom(refresh)
      // Whether the issuer has such a key by now is for the issuer to say.
      if (failures > 0) throw cannotSay()
      return candidates(keys, header)
    }
  }
}

type Header = Readonly<{ alg: string, kid?: string }>
/** One fetched set, and what was found in it so far: at most one entry for each of its keys and algorithms. */
type Keys = Readonly<{ set: ReturnType<typeof createLocalJWKSet>, found: Map<string, readonly KeyObject[]> }>

const nameOf = ({ alg, kid }: Header) => kid === undefined ? alg : `${alg} ${kid}`

async function candidates ({ set, found }: Keys, header: Header): Promise<readonly KeyObject[]> {
  const good: KeyObject[] = []
  const take = (key: CryptoKey) => {
    const candidate = KeyObject.from(key)
    if (isStrong(candidate)) good.push(candidate)
  }
  try {
    take(await set(header))
  } catch (error) {
    if (!(error instanceof errors.JWKSMultipleMatchingKeys)) return []
    for await (const key of error) {
      take(key)
      if (good.length === MAX_CANDIDATES) break
    }
  }
  if (good.length > 0) found.set(nameOf(header), good)
  return good
}

/** RFC 7518, section 3.3. Curves have one length each. */
function isStrong ({ asymmetricKeyDetails }: KeyObject): boolean {
  const {
    modulusLength = Infinity, publicExponent = MIN_EXPONENT
  } = asymmetricKeyDetails as NonNullable<typeof asymmetricKeyDetails>
  return modulusLength >= MIN_MODULUS_BITS && publicExponent >= MIN_EXPONENT && publicExponent % 2n === 1n
}

/** Whether a token of any algorithm could be verified by the set. */
async function isUsable (keys: Keys): Promise<boolean> {
  for (const alg of ALGORITHMS) if ((await candidates(keys, { alg })).length > 0) return true
  return false
}

async function fetchKeys (source: KeySource): Promise<Keys> {
  const signal = AbortSignal.timeout(FETCH_TIMEOUT_MS)
  const set = await fetchObject(source.jwks ?? await discover(source, signal), signal)
  const { keys } = set
  if (!Array.isArray(keys) || !keys.every((key) => isObject(key) && typeof key.kty === 'string')) {
    throw new OutboundError('not_a_key_set')
  }
  if (keys.length === 0 || keys.length > MAX_KEYS) {
    throw new OutboundError(keys.length === 0 ? 'no_keys' : 'too_many_keys')
  }
  if (keys.some(isSecret)) throw new OutboundError('secret_key_published')
  const fetched: Keys = { set: createLocalJWKSet(set as unknown as JSONWebKeySet), found: new Map() }
  if (!await isUsable(fetched)) throw new OutboundError('no_usable_keys')
  return fetched
}

/** Whoever publishes one of these has lost it; what else is in the set is not to be trusted either. */
function isSecret (key: unknown): boolean {
  return isObject(key) &&
    (key.kty === 'oct' || ['d', 'k', 'p', 'q', 'priv'].some((member) => Object.hasOwn(key, member)))
}

/** OpenID Connect Discovery 1.0, section 4. */
async function discover ({ issuer, insecureHttp }: KeySource, signal: AbortSignal): Promise<string> {
  const document = await fetchObject(`${issuer.replace(/\/$/, '')}/.well-known/openid-configuration`, signal)
  if (document.issuer !== issuer) throw new OutboundError('discovery_names_another_issuer')
  const { jwks_uri: uri } = document
  if (typeof uri !== 'string' || addressFault(uri, insecureHttp) !== undefined) {
    throw new OutboundError('discovery_names_no_safe_jwks_uri')
  }
  return uri
}

async function fetchObject (url: string, signal: AbortSignal): Promise<JsonObject> {
  const { status, body } = await call(url, { signal, maxBytes: MAX_BYTES, closes: true })
  if (status !== 200) throw new OutboundError('not_200')
  const object = readObject(body)
  if (object === undefined) throw new OutboundError('not_a_json_object')
  return object
}
