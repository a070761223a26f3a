// How long a call can last at most, according to upstream.

/** Lifetimes outside this range are ignored. */
const [LEAST_LIFE_MS, MOST_LIFE_MS] = [60_000, 7_200_000]

/** Milliseconds from the creation, by upstream's clock alone: `dateMs` is its Date header. Null if unknown. */
export function lifeOf (expiresAtSeconds: number | null, dateMs: number | null): number | null {
  if (expiresAtSeconds === null || dateMs === null) return null
  const lifeMs = expiresAtSeconds * 1000 - dateMs
  return lifeMs >= LEAST_LIFE_MS && lifeMs <= MOST_LIFE_MS ? lifeMs : null
}
