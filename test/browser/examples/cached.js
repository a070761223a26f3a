/**
 * A function that mints only where the last secret is about to expire. It gives a promise, so two callers at once share
 * one mint. `spareSeconds` is what connecting may take.
 */
export function cached (mint, spareSeconds = 10) {
  let minted
  let goodUntil = 0
  return () => {
    if (Date.now() / 1000 < goodUntil - spareSeconds) return minted
    goodUntil = Infinity
    minted = mint()
    minted.then(({ expires_at: expiresAt }) => { goodUntil = expiresAt }, () => { goodUntil = 0 })
    return minted
  }
}
