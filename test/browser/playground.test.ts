// The playground: signing in, the form, minting, refusals.

import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
// @ts-expect-error A file of the page: plain JavaScript, without types.
import { snippets } from '../../src/sandbox/playground/snippets.js'
import { browserTest } from './chromium.ts'
import { mint, outcomeOn, signInAs, spoken } from './playground.ts'
import { sandboxFor, shared, visit } from './sandbox.ts'

const sharedPlayground = async () => (await shared()).playground

browserTest('a refusal is explained and names its path', async (t) => {
  await visit(t, await sharedPlayground(), {}, async (page) => {
    await signInAs(page, 'Paula')
    const cases: [button: string, path: string | null, words: RegExp][] = [
      ['Custom instructions', 'session.instructions', /the policy decides it\. Leave it out\./],
      ['A tool that calls another server', 'session.tools', /Leave it out/],
      ['A value that is not allowed: model', 'session.model', /Allowed: gpt-realtime-2\.1, gpt-realtime-2\.1-mini\./],
      ['A longer lifetime', 'expires_after.seconds', /Allowed: 10 to 600 seconds\./],
      ['An unknown field', 'session.pitch', /Leave it out/],
      ['A prompt that is not offered', 'session.prompt', /Offered: assistant, support\./],
      ['Incomplete JSON', null, /The body is not valid JSON/]
    ]
    for (const [button, path, words] of cases) {
      await page.getByRole('button', { name: button, exact: true }).click()
      // Two refusals can have the same text, so wait for the new path.
      if (path !== null) await outcomeOn(page).locator('.path code', { hasText: path }).waitFor()
      await outcomeOn(page).getByText(words).waitFor()
      await spoken(page).filter({ hasText: words }).waitFor({ state: 'attached' })
      t.match(await outcomeOn(page).textContent(), path === null ? 'Refused, 400' : 'Refused, 403', button)
      t.match(await spoken(page).textContent(), words, 'and announced to screen readers')
      if (path !== null) t.ok((await outcomeOn(page).locator('.path code').textContent())?.startsWith(path), path)
    }
    await page.locator('#kinds label', { hasText: 'Transcription' }).click()
    await page.getByRole('button', { name: 'Custom instructions' }).click()
    await outcomeOn(page).getByText('session.instructions').first().waitFor()
  })
})

browserTest('a guest mints without a credential until a limit is used up', async (t) => {
  const { playground } = await sandboxFor(t)
  await visit(t, playground, {}, async (page) => {
    await signInAs(page, 'Guest')
    await page.locator('#kinds label', { hasText: 'Transcription' }).click()
    await page.getByText('grants this user no transcription session').waitFor()
    await mint(page)
    await outcomeOn(page).getByText('The policy grants this user no transcription session. Granted: realtime.')
      .waitFor()

    await page.locator('#kinds label', { hasText: 'Realtime' }).click()
    for (const left of [2, 1, 0]) {
      await mint(page)
      await outcomeOn(page).getByText(`${left} of 3`).waitFor()
    }
    await mint(page)
    await outcomeOn(page).getByText(/A limit is used up\. Try again in \d+ s\./).waitFor()
    t.match(await outcomeOn(page).textContent(), 'Refused, 429')
  })
})

browserTest('a pasted token may be wrapped and indented; a malformed or wrong one is reported', async (t) => {
  const { playground, identityProvider } = await shared()
  const token = await (await fetch(`${identityProvider}/token?user=fred&form=opaque`)).text()
  await visit(t, playground, {}, async (page) => {
    await page.locator('#sign-ins label', { hasText: 'Your own token' }).click()
    const use = page.getByRole('button', { name: 'Use this token' })
    await use.click()
    await page.getByText('paste one first').waitFor()
    await page.locator('#token').fill('„nothing“')
    await use.click()
    await page.getByText('This is not a token').waitFor()

    await page.locator('#token').fill(`  Bearer ${token.slice(0, 20)}\n\t${token.slice(20)} \r\n`)
    await use.click()
    await spoken(page).getByText('may mint realtime, transcription').waitFor({ state: 'attached' })
    t.equal(await page.locator('#token').inputValue(), token)
    await mint(page)
    await outcomeOn(page).getByText('Minted', { exact: true }).waitFor()

    await page.locator('#token').fill(`${token}X`)
    await use.click()
    await outcomeOn(page).getByText('Ephemint did not accept the credential').waitFor()
    t.match(await outcomeOn(page).textContent(), 'Refused, 401')
  })
})

for (const who of ['Fred', 'Paula', 'Paula, by cookie', 'Guest'] as const) {
  browserTest(`${who} mints what the policy says`, async (t) => {
    await visit(t, await sharedPlayground(), {}, async (page) => {
      await signInAs(page, who)
      await mint(page)
      await outcomeOn(page).getByText('Minted', { exact: true }).waitFor()
      const session = await outcomeOn(page).getByLabel('Minted session').textContent()
      t.equal(JSON.parse(session ?? '').model, who.startsWith('Paula') ? 'gpt-realtime-2.1' : 'gpt-realtime-2.1-mini')
      const response = await outcomeOn(page).getByLabel('Response received').textContent()
      t.match(response, /^200\nx-realtime-url: .*\nratelimit-limit: \d+/)
      t.match(await outcomeOn(page).locator('.limits').textContent(), /Seconds of calls left this (hour|day)\d+ of \d+/)
      t.notMatch(await page.content(), /ek_\w{5}/, 'the secret is nowhere in the page')
    })
  })
}

browserTest('the form has the fields that the policy allows, and builds the request', async (t) => {
  await visit(t, await sharedPlayground(), {}, async (page) => {
    await signInAs(page, 'Paula')
    await page.getByLabel('Model').selectOption('gpt-realtime-2.1-mini')
    await page.getByLabel('Output modalities').selectOption('text')
    await page.getByLabel('Speed, as a slider').fill('1.1')
    t.equal(await page.getByLabel('Speed audio').inputValue(), '1.1')
    await page.getByLabel('Noise reduction').selectOption('null: off')
    await page.getByRole('button', { name: 'Turn detection: fill in semantic_vad' }).click()
    await page.getByLabel('Prompt').selectOption('support')
    await page.getByLabel('Variable product').fill('the app')
    await page.getByLabel('Lifetime of the secret, in seconds expires').fill('120')
    await mint(page)
    await outcomeOn(page).getByText('Minted', { exact: true }).waitFor()
    const [, body = ''] = (await outcomeOn(page).getByLabel('Request sent').textContent() ?? '').split('\n\n')
    t.same(JSON.parse(body), {
      expires_after: { anchor: 'created_at', seconds: 120 },
      session: {
        type: 'realtime',
        model: 'gpt-realtime-2.1-mini',
        output_modalities: ['text'],
        audio: { output: { speed: 1.1 }, input: { noise_reduction: null, turn_detection: { type: 'semantic_vad' } } },
        prompt: { id: 'support', variables: { product: 'the app' } }
      }
    })
    t.match(
      JSON.parse(await outcomeOn(page).getByLabel('Minted session').textContent() ?? ''),
      { instructions: /customers of Paula & Partners with the app/, tools: [{ name: 'find_order' }] }
    )

    await page.getByRole('textbox', { name: 'Turn detection' }).fill('{"type": ')
    await mint(page)
    await page.getByRole('alert').getByText('Turn detection is not valid JSON.').waitFor()
    await page.getByRole('button', { name: 'Start over' }).click()
    t.equal(await page.getByLabel('Model').inputValue(), '')
  })
})

browserTest('a request in JSON can use the route of the beta API', async (t) => {
  await visit(t, await sharedPlayground(), {}, async (page) => {
    await signInAs(page, 'Paula')
    await page.locator('#modes label', { hasText: 'JSON' }).click()
    t.same(JSON.parse(await page.getByLabel('Request body').inputValue()), { session: { type: 'realtime' } })
    await page.getByLabel('Route').selectOption('realtime/sessions')
    await page.getByLabel('Request body').fill('{"model":"gpt-4o-realtime-preview","voice":"verse"}')
    await mint(page)
    await outcomeOn(page).getByText('Minted', { exact: true }).waitFor()
    t.match(
      JSON.parse(await outcomeOn(page).getByLabel('Minted session').textContent() ?? ''),
      { model: 'gpt-realtime-2.1', voice: 'verse' }
    )
    await page.getByLabel('Request body').fill('{"voice":"nobody"}')
    await mint(page)
    await outcomeOn(page).locator('.path code').getByText('voice', { exact: true }).waitFor()
  })
})

browserTest('the lifetime of the secret counts down, and then connecting is disabled', async (t) => {
  await visit(t, await sharedPlayground(), {}, async (page) => {
    await page.clock.install()
    await page.reload()
    await signInAs(page, 'Guest')
    await mint(page)
    const timer = outcomeOn(page).getByRole('timer')
    await timer.getByText(/valid for another (30|29|28) s/).waitFor()
    await page.clock.fastForward(10_000)
    await timer.getByText(/another (20|19|18|17) s/).waitFor()
    await page.clock.fastForward(25_000)
    await timer.getByText('has expired').waitFor()
    await outcomeOn(page).getByText('mint another one to connect').waitFor()
    for (const name of ['WebRTC', 'WebSocket']) {
      t.ok(await page.getByRole('button', { name: `Connect by ${name}` }).isDisabled(), name)
    }
    t.equal(await spoken(page).textContent(), 'The secret has expired.')
  })
})

browserTest('the secret and the code can be copied, and the code mints', async (t) => {
  const { playground } = await sandboxFor(t)
  await visit(t, playground, {}, async (page) => {
    const clipboard = () => page.evaluate('navigator.clipboard.readText()') as Promise<string>
    for (const who of ['Paula', 'Paula, by cookie', 'Guest'] as const) {
      await signInAs(page, who)
      await mint(page)
      await page.getByRole('button', { name: 'Copy the client secret' }).click()
      await page.getByRole('button', { name: 'Copy the client secret' }).getByText('Copied').waitFor()
      t.match(await clipboard(), /^ek_[0-9a-f]{32}$/)

      await page.getByRole('tab', { name: 'curl' }).click()
      await page.getByRole('button', { name: 'Copy the curl code' }).click()
      await page.getByRole('button', { name: 'Copy the curl code' }).getByText('Copied').waitFor()
      const { stdout } = await promisify(execFile)('sh', ['-c', await clipboard()], { cwd: t.testdir() })
      t.match(JSON.parse(stdout), { value: /^ek_/ }, `${who}: ${await clipboard()}`)

      await page.getByRole('tab', { name: 'fetch' }).click()
      const code = await page.getByRole('tabpanel', { name: 'fetch' }).locator('pre').textContent()
      t.match(await page.evaluate(`(async () => { ${code}\nreturn minted })()`), { value: /^ek_/ }, who)
    }
  })
})

browserTest('the openai code mints', async (t) => {
  const { ephemint, identityProvider } = await shared()
  const config = { mintUrl: `${ephemint}/v1`, identityProviderUrl: identityProvider }
  const cases: [way: object, path: string, body: string][] = [
    [
      { id: 'paula', user: 'paula' }, 'realtime/client_secrets',
      '{"session":{"type":"realtime","prompt":{"id":"support","variables":{"product":"it\'s \\"new\\""}}}}'
    ],
    [
      { id: 'paula', user: 'paula' }, 'realtime/translations/client_secrets',
      '{"session":{"audio":{"output":{"language":"de"}}}}'
    ],
    [{ id: 'fred', user: 'fred' }, 'realtime/sessions', '{"voice":"cedar"}']
  ]
  const texts = cases.map(([way, path, body]) =>
    snippets(config, way, path, body).find(({ title }: { title: string }) => title === 'openai').text)
  const folder = t.testdir(Object.fromEntries(texts.map((text, i) => [`${i}.mjs`, `${text}\nexport default minted\n`])))
  for (const i of texts.keys()) {
    const { default: minted } = await import(`${folder}/${i}.mjs`)
    t.match(minted.value ?? minted.client_secret.value, /^ek_/, texts[i])
  }
})

browserTest('an unreachable Ephemint is reported, and the request can be retried', async (t) => {
  const { playground, stopEphemint } = await sandboxFor(t)
  await visit(t, playground, {}, async (page) => {
    await signInAs(page, 'Paula')
    await stopEphemint()
    await mint(page)
    await page.getByRole('alert').getByText('Ephemint cannot be reached').waitFor()
    const retried = page.waitForRequest(/client_secrets$/)
    await page.getByRole('button', { name: 'Try again' }).click()
    await retried
    await page.getByRole('alert').getByText('Ephemint cannot be reached').waitFor()
  })
})
