/**
 * A function that mints only when the last secret is about to expire. It returns a promise, so two callers at once
 * share one mint. `spareSeconds` is the time that connecting may take.
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
