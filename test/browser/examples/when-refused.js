/** `mint` throws what the example above throws; `signIn` gets the user a new token. */
export async function mintOrSay (mint, signIn, say) {
  try {
    return await mint()
  } catch ({ status, param, retryAfter, message }) {
    switch (status) {
      case 401:            // no token, or one that has expired: sign in anew, then once more
        await signIn()
        return mint()
      case 403:            // asking again will not help: the policy says no
        say(param === null ? message : `This is not for you to choose: ${param}`)
        break
      case 429:            // a limit; where it ends so late that nobody waits, tell the user when
      case 503:            // a part is down
        say(`Not now. Try again in ${retryAfter || 60} s.`)
        break
      default:             // 400 is ours to mend, 5xx the operator's; there is no CORS answer at all where the page is not allowed
        say(message)
    }
    return null
  }
}
