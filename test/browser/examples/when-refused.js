/** `mint` throws as the example above does; `signIn` gets the user a new token. */
export async function mintOrSay (mint, signIn, say) {
  try {
    return await mint()
  } catch ({ status, param, retryAfter, message }) {
    switch (status) {
      case 401:            // no token, or one that has expired: sign in again, then retry once
        await signIn()
        return mint()
      case 403:            // the policy refuses: a retry does not help
        say(param === null ? message : `This is not for you to choose: ${param}`)
        break
      case 429:            // a limit: show the user when to try again
      case 503:            // a dependency is down
        say(`Not now. Try again in ${retryAfter || 60} s.`)
        break
      default:             // 400 is a bug of this page, 5xx is for the operator
        say(message)
    }
    return null
  }
}
