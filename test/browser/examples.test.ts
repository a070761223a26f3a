// Runs the browser code that docs/connecting.md shows against the sandbox.

import { browserTest } from './chromium.ts'
import { inApp, inOwnApp } from './in-app.ts'

browserTest('plain fetch: a refusal throws an error with status, code and param, and a mint returns', async (t) => {
  await inApp(t, async ({ run }) => {
    const caught = 'error => ({ status: error.status, code: error.code, param: error.param, message: error.message })'
    t.same(await run(
      '{ mint }',
      'mint.js',
      `mint(mintUrl, userToken, { session: { type: 'realtime', instructions: 'Mine.' } }).catch(${caught})`
    ), {
      status: 403,
      code: 'policy_violation',
      param: 'session.instructions',
      message: 'The policy does not permit what this request asks for.'
    })
    t.match(
      await run('{ mint }', 'mint.js', `mint(mintUrl, 'nonsense').catch(${caught})`),
      { status: 401, code: 'invalid_credentials' }
    )
    t.match(
      await run('{ mint }', 'mint.js', 'mint(mintUrl, userToken)'),
      { value: /^ek_/, expires_at: Number, session: { model: 'gpt-realtime-2.1' }, realtimeUrl: /\/realtime\/calls$/ }
    )
  })
})

browserTest('by cookie: a signed-in user mints as that user', async (t) => {
  await inApp(t, async ({ run, page, identityProvider }) => {
    t.match(
      await run('{ mintByCookie }', 'mint-by-cookie.js', 'mintByCookie(mintUrl)'),
      { session: { model: 'gpt-realtime-2.1-mini' } },
      'a guest, before'
    )
    await page.evaluate(`fetch('${identityProvider}/login?user=paula', { method: 'POST', credentials: 'include' })`)
    t.match(
      await run('{ mintByCookie }', 'mint-by-cookie.js', 'mintByCookie(mintUrl)'),
      { value: /^ek_/, session: { model: 'gpt-realtime-2.1', instructions: /Paula/ } }
    )
  })
})

browserTest('the openai package mints in a page and returns the address to connect to', async (t) => {
  await inApp(t, async ({ run }) => {
    t.match(await run(
      '{ mint }',
      'mint-with-openai.js',
      `mint(mintUrl, userToken, { session: { type: 'realtime', instructions: 'Mine.' } })
        .catch(({ status, param, constructor }) => ({ status, param, name: constructor.name }))`
    ),
    { status: 403, param: 'session.instructions', name: 'PermissionDeniedError' })
    t.match(await run(
      '{ mint }',
      'mint-with-openai.js',
      "mint(mintUrl, userToken, { session: { type: 'realtime', audio: { output: { voice: 'verse' } } } })"
    ),
    {
      value: /^ek_/,
      session: { audio: { output: { voice: 'verse' } } },
      realtimeUrl: /^http:\/\/127\.0\.0\.1:\d+\/v1\/realtime\/calls$/
    })
  })
})

for (const file of ['webrtc.js', 'websocket.js']) {
  browserTest(`${file} opens the minted session, and it answers`, async (t) => {
    await inApp(t, async ({ run }) => {
      const { created, done } = await run('{ connect }', file, `(async () => {
        const events = []
        const line = await connect(await mintPlain(mintUrl, userToken), (event) => events.push(event))
        const created = await waitFor(events, 'session.created')
        line.send({ type: 'response.create' })
        const done = await waitFor(events, 'response.done')
        line.close()
        return { created, done }
      })()`)
      t.match(created, {
        session: { model: 'gpt-realtime-2.1', instructions: /Paula & Partners/, audio: { output: { voice: 'cedar' } } }
      })
      t.match(done, { response: { status: 'completed' } })
    })
  })
}

browserTest('webrtc.js throws the status of a refused call', async (t) => {
  await inApp(t, async ({ run }) => {
    const message = await run('{ connect }', 'webrtc.js', `(async () => {
      const minted = await mintPlain(mintUrl, userToken)
      return connect({ ...minted, value: 'ek_expired' }, () => {}).catch((error) => error.message)
    })()`)
    t.equal(message, 'The call was refused with 401.')
  })
})

for (const by of ['connectByWebRtc', 'connectByWebSocket']) {
  browserTest(`agents: after ${by} the minted persona, voice and tools are in force`, async (t) => {
    await inApp(t, async ({ run }) => {
      const { minted, updated } = await run(`{ ${by} }`, 'agents.js', `(async () => {
        const { RealtimeAgent } = await import('@openai/agents-realtime')
        const session = { type: 'realtime', prompt: { id: 'support' }, audio: { output: { voice: 'verse' } } }
        const minted = await mintPlain(mintUrl, userToken, { session })
        const events = []
        const agent = new RealtimeAgent({ name: 'Bob', instructions: 'You are Bob.', voice: 'ash' })
        const realtime = await ${by}(agent, minted)
        realtime.transport.on('*', (event) => events.push(event))
        realtime.transport.sendEvent({ type: 'session.update', session: { type: 'realtime' } })
        const updated = await waitFor(events, 'session.updated')
        realtime.close()
        return { minted: minted.session, updated: updated.session }
      })()`)
      t.match(minted, {
        instructions: /^You help the customers of Paula & Partners/,
        tools: [{ name: 'find_order' }],
        audio: { output: { voice: 'verse' } }
      })
      for (const key of [
        'model', 'instructions', 'tools', 'audio', 'output_modalities', 'max_output_tokens', 'tracing'
      ]) t.same(updated[key], minted[key], key)
    })
  })
}

browserTest('agents: without the overridden transport the library erases the minted instructions', async (t) => {
  await inApp(t, async ({ run }) => {
    const updated = await run('{ }', 'agents.js', `(async () => {
      const { OpenAIRealtimeWebSocket, RealtimeAgent, RealtimeSession } = await import('@openai/agents-realtime')
      const { value, session, realtimeUrl } = await mintPlain(mintUrl, userToken)
      const transport = new OpenAIRealtimeWebSocket()
      const events = []
      transport.on('*', (event) => events.push(event))
      const realtime = new RealtimeSession(new RealtimeAgent({ name: 'Bob' }), { transport, model: session.model })
      await realtime.connect({ apiKey: value, url: realtimeUrl.replace(/^http/, 'ws').replace(/\\/calls$/, '') })
      const updated = await waitFor(events, 'session.updated')
      realtime.close()
      return updated.session
    })()`)
    t.equal(updated.instructions, '')
  })
})

browserTest('a cached secret is shared until shortly before it expires', async (t) => {
  await inApp(t, async ({ run, page }) => {
    await page.clock.install()
    const [first, together, later, afterwards, failed, again] = await run('{ cached }', 'cached.js', `(async () => {
      let mints = 0
      const secret = cached(async () => {
        mints += 1
        if (mints === 3) throw new Error('down')
        return { value: 'ek_' + mints, expires_at: Date.now() / 1000 + 60 }
      })
      const start = Date.now()
      const [first, together] = await Promise.all([secret(), secret()])
      const at = async (seconds) => {
        const real = Date.now
        Date.now = () => start + seconds * 1000
        try { return (await secret()).value } catch (error) { return error.message } finally { Date.now = real }
      }
      return [first.value, together.value, await at(49), await at(51), await at(120), await at(121)]
    })()`)
    t.same([first, together, later, afterwards, failed, again], ['ek_1', 'ek_1', 'ek_1', 'ek_2', 'down', 'ek_4'])
  })
})

browserTest('when-refused.js signs in again, reports a refusal, or says when to retry', async (t) => {
  await inOwnApp(t, async ({ run, stopEphemint }) => {
    const attempt = (mint: string) => run('{ mintOrSay }', 'when-refused.js', `(async () => {
      const messages = []
      let token = 'expired'
      const minted = await mintOrSay(${mint}, async () => { token = userToken }, (message) => messages.push(message))
      return { minted, messages }
    })()`)
    t.match(
      await attempt('() => mintPlain(mintUrl, token)'),
      { minted: { value: /^ek_/ }, messages: [] },
      '401: signs in and retries once'
    )
    t.same(
      await attempt("() => mintPlain(mintUrl, userToken, { session: { type: 'realtime', instructions: 'Mine.' } })"),
      { minted: null, messages: ['This is not for you to choose: session.instructions'] }
    )
    const limited = await attempt(`async () => {
      const headers = { 'Content-Type': 'application/json' }
      const guest = () => fetch(mintUrl + '/realtime/client_secrets', { method: 'POST', headers, body: '{}' })
      for (let i = 0; i < 3; i++) await guest()
      const response = await guest()
      throw { status: response.status, param: null, retryAfter: Number(response.headers.get('Retry-After')) }
    }`)
    t.match(limited, { minted: null, messages: [/^Not now\. Try again in (60|[1-5]?\d) s\.$/] })
    await stopEphemint()
    t.match(await attempt('() => mintPlain(mintUrl, userToken)'), { minted: null, messages: ['Failed to fetch'] })
  })
})
