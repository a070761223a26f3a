// Makes a call through Ephemint: offers a line, and takes the answer or a refusal.

import { openLine, openMicrophone, openTone } from './line.js'
import { ask, CALL_ROUTE } from './service.js'

/**
 * `session` is JSON. Resolves to {exchange, url, access, line, voice, leave}; `access`: the headers or cookies of the
 * caller's requests, kept, because a page that is being left has no time to get them. Throws NoMicrophone, Unreachable.
 */
export async function placeCall ({ config, signIn, session, hasEvents, microphone }) {
  const voice = microphone ? await openMicrophone() : openTone()
  const line = await openLine({ voice, hasEvents })
  try {
    const access = await signIn.credentials()
    const form = new FormData()
    form.append('session', session)
    form.append('sdp', line.offer)
    const exchange = await ask(config, { credentials: async () => access }, CALL_ROUTE, form)
    if (!exchange.ok) line.close()
    const url = new URL(exchange.headers.location ?? '', config.mintUrl).href
    return { exchange, url, access, line, voice, leave }

    function leave () {
      if (exchange.ok) fetch(`${url}/hangup`, { ...access, method: 'POST', keepalive: true }).catch(() => {})
      line.close()
    }
  } catch (error) {
    line.close()
    throw error
  }
}
