// JWKS of one issuer: refreshed in the background, kept while the issuer is down, and never used beyond MAX_STALE_MS.
// jose selects and imports keys. Its createRemoteJWKSet is not used: it refuses good tokens when a refresh fails, does
// not back off while the issuer is down, and relies on the wall clock.

import { KeyObject } from 'node:crypto'
import { createLocalJWKSet, type CryptoKey, errors, type JSONWebKeySet } from 'jose'
import { type Clock, systemClock } from '../clock.ts'
import { isObject, type Json, type JsonObject } from '../json.ts'
import { addressFault, OutboundError, readObject, type SendRequest, sendRequest } from '../outbound/request.ts'
import type { PlainLog } from '../records/log.ts'
import { unavailable } from './caller.ts'
import { algorithmNamed, ALGORITHMS } from './schema.ts'
import { createWaitingRoom } from './waiting.ts'

/** A key removed from the set is refused after this, plus the 60 s for which a verified token is cached. */
const REFRESH_MS = 5 * 60_000
const MAX_STALE_MS = 60 * 60_000
const RETRY_MS = { first: 1_000, last: 30_000 }
/** Anyone can send an unknown `kid`, so such tokens cause at most one fetch in this time. */
const UNKNOWN_KEY_COOLDOWN_MS = 30_000
const FETCH_TIMEOUT_MS = 5_000
const MAX_BYTES = 100 * 1024
const MAX_KEYS = 100
/** A token without `kid` is tried against this many keys. */
const MAX_CANDIDATES = 5
const MIN_MODULUS_BITS = 2048
/** With an exponent of 1 anyone can sign; even exponents are invalid. */
const MIN_EXPONENT = 3n

export type KeySource = Readonly<{
  issuer: string
  /** URL of the set; undefined: taken from the discovery document. */
  jwks: string | undefined
  insecureHttp: boolean
}>

export type KeySet = Readonly<{
  issuer: string
  /** Candidate keys for a token; empty if the issuer has none. Throws ApiError `identity_unavailable`. */
  find: (header: Header) => Promise<readonly KeyObject[]>
  wasFetched: () => boolean
  /** Infinity before the first fetch. */
  ageMs: () => number
  /** Refreshes the set until `close`; resolves after the first fetch, even a failed one. */
  open: () => Promise<void>
  close: () => void
}>

/** All key sets of the process: a reloaded policy file reuses the keys fetched before. */
export type KeySets = (source: KeySource) => KeySet

export type KeySetsDeps = Readonly<{ log: PlainLog, clock?: Clock, send?: SendRequest }>

export function createKeySets ({ log, clock = systemClock, send = sendRequest }: KeySetsDeps): KeySets {
  const sets = new Map<string, KeySet>()
  return (source) => {
    const id = JSON.stringify([source.issuer, source.jwks, source.insecureHttp])
    const set = sets.get(id) ?? createKeySet(source, { log, clock, send })
    sets.set(id, set)
    return set
  }
}

function createKeySet (source: KeySource, { log, clock, send }: Required<KeySetsDeps>): KeySet {
  const { issuer } = source
  const { monotonicMs: now, after } = clock
  let keys: Keys | undefined
  let fetchedAt = -Infinity
  let unknownKeyFetchAt = -Infinity
  let retryAt = -Infinity
  let failures = 0
  let users = 0
  let fetching: Promise<void> | undefined
  let cancelNext = () => {}
  const waitingRoom = createWaitingRoom('keys_busy')

  /** Never rejects. One fetch at a time, so an older response cannot replace a newer one. */
  function refresh (): Promise<void> {
    cancelNext()
    fetching ??= fetchOnce()
    return fetching
  }

  async function fetchOnce (): Promise<void> {
    let nextMs = REFRESH_MS
    try {
      keys = await fetchKeys(source, send)
      fetchedAt = now()
      if (failures > 0) log.info({ issuer, failures }, 'keys fetched again')
      failures = 0
    } catch (error) {
      nextMs = Math.min(RETRY_MS.last, RETRY_MS.first * 2 ** failures++) * (0.5 + Math.random() / 2)
      retryAt = now() + nextMs
      // Messages of other errors may quote the response.
      const reason = error instanceof OutboundError ? error.code : 'internal_error'
      log.warn({ issuer, reason, failures, hasKeys: isFresh() }, 'keys could not be fetched')
    }
    fetching = undefined
    if (users > 0) cancelNext = after(nextMs, refresh)
  }

  const isFresh = () => now() - fetchedAt <= MAX_STALE_MS
  const isPaused = () => now() < retryAt
  const keysUnavailable = () => unavailable('keys_unavailable', Math.max(1, Math.ceil((retryAt - now()) / 1000)))

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
      if (!isFresh() && !isPaused()) await waitingRoom(refresh)
      if (keys === undefined || !isFresh()) throw keysUnavailable()
      const known = keys.found.get(lookupKey(header)) ?? await findCandidates(keys, header)
      if (known.length > 0) return known
      if (fetching === undefined) {
        if (isPaused()) throw keysUnavailable()
        if (failures === 0 && now() - unknownKeyFetchAt < UNKNOWN_KEY_COOLDOWN_MS) return []
        unknownKeyFetchAt = now()
      }
      await waitingRoom(refresh)
      // The issuer may have published this key since the last fetch that worked.
      if (failures > 0) throw keysUnavailable()
      return findCandidates(keys, header)
    }
  }
}

type Header = Readonly<{ alg: string, kid?: string }>
/** A fetched set, and a cache of lookups that found keys: at most one for each key and algorithm. */
type Keys = Readonly<{ set: ReturnType<typeof createLocalJWKSet>, found: Map<string, readonly KeyObject[]> }>

const lookupKey = ({ alg, kid }: Header) => kid === undefined ? alg : `${alg} ${kid}`

async function findCandidates ({ set, found }: Keys, header: Header): Promise<readonly KeyObject[]> {
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
  if (good.length > 0) found.set(lookupKey(header), good)
  return good
}

/** RSA only (RFC 7518, section 3.3): the curves have fixed sizes. */
function isStrong ({ asymmetricKeyDetails }: KeyObject): boolean {
  const details = asymmetricKeyDetails as NonNullable<typeof asymmetricKeyDetails>
  const { modulusLength = Infinity, publicExponent = MIN_EXPONENT } = details
  return modulusLength >= MIN_MODULUS_BITS && publicExponent >= MIN_EXPONENT && publicExponent % 2n === 1n
}

/** Whether the set can verify tokens of at least one algorithm. */
async function isUsable (keys: Keys): Promise<boolean> {
  for (const alg of ALGORITHMS) if ((await findCandidates(keys, { alg })).length > 0) return true
  return false
}

async function fetchKeys (source: KeySource, send: SendRequest): Promise<Keys> {
  const signal = AbortSignal.timeout(FETCH_TIMEOUT_MS)
  const fetchObject = objectFetcher(send, signal)
  const set = await fetchObject(source.jwks ?? await discover(source, fetchObject))
  const { keys } = set
  if (!Array.isArray(keys)) throw new OutboundError('not_a_key_set')
  if (keys.length > MAX_KEYS) throw new OutboundError('too_many_keys')
  if (keys.some(isSecret)) throw new OutboundError('secret_key_published')
  const known = keys.flatMap(readKey)
  if (known.length === 0) throw new OutboundError(keys.length === 0 ? 'no_keys' : 'not_a_key_set')
  const fetched: Keys = { set: createLocalJWKSet({ keys: known } as unknown as JSONWebKeySet), found: new Map() }
  if (!await isUsable(fetched)) throw new OutboundError('no_usable_keys')
  return fetched
}

/** Entries that are no keys are skipped (RFC 7517, section 5). */
function readKey (key: Json): JsonObject[] {
  if (!isObject(key) || typeof key.kty !== 'string') return []
  return [typeof key.alg === 'string' ? { ...key, alg: algorithmNamed(key.alg) } : key]
}

/** A published secret or private key is compromised, so the whole set is rejected. */
function isSecret (key: unknown): boolean {
  return isObject(key) &&
    (key.kty === 'oct' || ['d', 'k', 'p', 'q', 'priv'].some((member) => Object.hasOwn(key, member)))
}

/** OpenID Connect Discovery 1.0, section 4. */
async function discover ({ issuer, insecureHttp }: KeySource, fetchObject: FetchObject): Promise<string> {
  const document = await fetchObject(`${issuer.replace(/\/$/, '')}/.well-known/openid-configuration`)
  if (document.issuer !== issuer) throw new OutboundError('discovery_names_another_issuer')
  const { jwks_uri: uri } = document
  if (typeof uri !== 'string' || addressFault(uri, insecureHttp) !== undefined) {
    throw new OutboundError('discovery_names_no_safe_jwks_uri')
  }
  return uri
}

type FetchObject = (url: string) => Promise<JsonObject>

function objectFetcher (send: SendRequest, signal: AbortSignal): FetchObject {
  return async (url) => {
    const { status, body } = await send(url, { signal, maxBytes: MAX_BYTES, closes: true })
    if (status !== 200) throw new OutboundError('not_200')
    const object = readObject(body)
    if (object === undefined) throw new OutboundError('not_a_json_object')
    return object
  }
}
