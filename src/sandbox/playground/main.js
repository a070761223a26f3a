// The playground: choose a user and a session, mint, and see the response.

import { clearAnswer, showCall, showGranted, showRefused } from './answer.js'
import { InvalidField, policyForm } from './form.js'
import { NoMicrophone } from './line.js'
import { announce, byId, copyButton, h, pretty, radios, tabs } from './page.js'
import { placeCall } from './place-call.js'
import { refusals } from './refusals.js'
import { ask, BETA_ROUTES, CALL_ROUTE, ownToken, reach, ROUTES, signInsOf, tidyToken, Unreachable } from './service.js'
import { callSnippets, snippets } from './snippets.js'
import { describeCalls } from './texts.js'

const KINDS = { realtime: 'Realtime', transcription: 'Transcription', translation: 'Translation' }

const WAYS = {
  secret: {
    title: 'Client secret',
    note: 'The page gets a secret and connects to OpenAI with it. Ephemint sees no more of it.',
    button: 'Mint a client secret'
  },
  call: {
    title: 'Call through Ephemint',
    note: 'The page gets no secret. Ephemint makes the call, watches it and ends it.',
    button: 'Call through Ephemint'
  }
}

let config
let signIns = []
let current
let way = 'secret'
let kind = 'realtime'
let policy = null
let form = null
let codeTab = 0
/** Counts sign-ins and calls: of two under way only the later one takes effect. */
let turn = 0

byId('ask').addEventListener('submit', (event) => {
  event.preventDefault()
  attempt(way === 'call' ? call : mint)
})
byId('ask').addEventListener('reset', (event) => {
  event.preventDefault()
  turn += 1
  clearAnswer()
  attempt(async () => showForm())
})
byId('ask').addEventListener('input', showCode)
byId('use-token').addEventListener('click', () => attempt(useOwnToken))
byId('sign-ins').addEventListener('change', ({ target }) => attempt(() => choose(target.value)))
byId('ways').addEventListener('change', ({ target: { name, value } }) => { if (name === 'way') chooseWay(value) })
byId('kinds').addEventListener('change', ({ target }) => { kind = target.value; showForm() })
byId('modes').addEventListener('change', ({ target }) => showMode(target.value))
attempt(start)

async function start () {
  config = await (await reach('The playground', '/config.json')).json()
  if (config === null) throw new Unreachable('Ephemint is still starting.')
  signIns = await signInsOf(config)
  byId('sign-ins').lastElementChild.replaceChildren(...radios('sign-in', [
    ...signIns, { id: 'own', title: 'Your own token', note: 'from an issuer in the policy file' }
  ].map((one) => ({ value: one.id, ...one })), signIns[0].id))
  byId('kinds').lastElementChild.replaceChildren(
    ...radios('kind', Object.entries(KINDS).map(([value, title]) => ({ value, title })), kind)
  )
  byId('ways').querySelector('div').replaceChildren(
    ...radios('way', Object.entries(WAYS).map(([value, one]) => ({ value, ...one })), way)
  )
  byId('microphone').checked = config.isReal
  byId('places').textContent = `Ephemint listens at ${config.mintUrl}.`
  await choose(signIns[0].id)
}

async function choose (id) {
  const isOwn = id === 'own'
  byId('own-token').hidden = !isOwn
  if (!isOwn) return signIn(signIns.find((one) => one.id === id))
  turn += 1
  signOut()
  showForm()
  byId('token').focus()
}

function chooseWay (chosen) {
  way = chosen
  byId('mint').textContent = WAYS[way].button
  byId('voice').hidden = way !== 'call'
  // A call is always a realtime session, and the refused requests are mints.
  byId('kinds').hidden = byId('refused').hidden = way === 'call'
  if (byId('outcome').className === 'empty') clearAnswer()
  showForm()
}

function kindNow () {
  return way === 'call' ? 'realtime' : kind
}

/** Nothing can be minted until Ephemint has accepted the sign-in. */
function signOut () {
  current = undefined
  policy = null
  byId('mint').disabled = true
  clearAnswer()
}

async function useOwnToken () {
  const token = tidyToken(byId('token').value)
  if (token === '') return showTrouble('No token: paste one first.')
  // The browser's error for other characters in a header would not explain them.
  if (!/^[\x21-\x7e]+$/.test(token)) return showTrouble('This is not a token: it has characters that no token has.')
  byId('token').value = token
  await signIn(ownToken(token))
}

async function signIn (chosen) {
  const mine = ++turn
  signOut()
  const exchange = await ask(config, chosen, 'realtime/policy')
  if (mine !== turn) return
  current = chosen
  byId('mint').disabled = false
  policy = exchange.ok ? exchange.answer : null
  showForm()
  if (exchange.ok) announce(`${chosen.title} may mint ${Object.keys(policy.sessions).join(', ') || 'nothing'}.`)
  else showRefused(exchange, { kind, sessions: undefined })
}

function showForm () {
  const kind = kindNow()
  const rules = policy?.sessions[kind]
  form = policyForm(
    kind, rules ?? { allow: {}, prompts: [], expires_after: { default: 60, max: 7200 } }, way === 'secret'
  )
  byId('fields').replaceChildren(form.element)
  byId('policy').textContent = policy === null ? 'None.' : pretty(policy)
  byId('policy-line').textContent = policyLine(rules)
  byId('leash').textContent = policy === null ? '' : describeCalls(rules?.calls, policy.limits)
  byId('refusals').replaceChildren(...(policy === null ? [] : refusals(kind, policy.sessions)).map((one) =>
    h('li', {}, h('button', { type: 'button', onclick: () => attempt(() => send(one.path, one.body)) }, one.title))))
  byId('route').replaceChildren(
    ...[...new Set([ROUTES[kind], ...Object.values(ROUTES), ...BETA_ROUTES])].map((path) => h('option', {}, path))
  )
  showMode(new FormData(byId('ask')).get('mode'))
}

function policyLine (rules) {
  if (current === undefined) return 'Use the token to see what it allows.'
  if (policy === null) return 'Ephemint shows this user no policy.'
  if (rules === undefined) return `The policy grants this user no ${kindNow()} session. Ask for one to see the refusal.`
  const old = rules.models.length === 0 ? '' : ` Old model names that also work: ${rules.models.join(', ')}.`
  return `The policy decides every field that you leave empty.${old}`
}

/** The JSON starts with the values of the form. */
function showMode (mode) {
  const isForm = mode === 'form'
  byId('fields').hidden = !isForm
  byId('by-hand').hidden = isForm
  byId('route-field').hidden = way === 'call'
  byId('body-label').textContent = way === 'call' ? 'The part “session” of the request' : 'Request body'
  if (!isForm) byId('body').value = JSON.stringify((way === 'call' ? readForm()?.session : readForm()) ?? {}, null, 2)
  showCode()
}

/** Undefined while a field is invalid. */
function readForm () {
  try {
    return form.read()
  } catch (error) {
    if (error instanceof InvalidField) return undefined
    throw error
  }
}

/** For a call, `body` is the session alone. */
function readRequest () {
  const isJson = new FormData(byId('ask')).get('mode') === 'json'
  if (way === 'call') {
    return { path: CALL_ROUTE, body: isJson ? byId('body').value : JSON.stringify(form.read().session) }
  }
  if (isJson) return { path: byId('route').value, body: byId('body').value }
  return { path: ROUTES[kind], body: JSON.stringify(form.read()) }
}

function showCode () {
  if (current === undefined) return byId('code').replaceChildren(h('p', { class: 'hint' }, 'Not signed in.'))
  if (readForm() === undefined) return
  const code = way === 'call'
    ? callSnippets(config, current, readRequest().body, hasEvents())
    : snippets(config, current, readRequest().path, readRequest().body)
  byId('code').replaceChildren(tabs('Language', code.map(({ title, text }) => ({
    title,
    content: [
      h('pre', { tabindex: 0, 'aria-label': `${title} code` }, text), copyButton(`the ${title} code`, () => text)
    ]
  })), Math.min(codeTab, code.length - 1), (chosen) => { if (way === 'secret') codeTab = chosen }))
}

async function mint () {
  const { path, body } = readRequest()
  await send(path, body)
}

async function send (path, body) {
  if (current === undefined) return showTrouble('Not signed in: choose a user first.')
  const [mine, signedIn] = [turn, current]
  announce('Minting …')
  const exchange = await ask(config, signedIn, path, body)
  // Another user has been chosen meanwhile.
  if (mine !== turn) return
  const requested = path.includes('transcription_')
    ? 'transcription'
    : path === ROUTES.translation ? 'translation' : kindOf(body)
  if (!exchange.ok) return showRefused(exchange, { kind: requested, sessions: policy?.sessions })
  // The secret is shown even if this request fails.
  const limits = await ask(config, signedIn, 'realtime/policy').then(({ answer }) => answer.limits ?? {}, () => ({}))
  if (mine === turn) showGranted(exchange, { kind: requested, limits, isReal: config.isReal })
}

/** The offer has a data channel, unless the policy would refuse it. */
function hasEvents () {
  return policy?.sessions.realtime?.calls?.data_channel !== false
}

async function call () {
  if (current === undefined) return showTrouble('Not signed in: choose a user first.')
  const request = {
    config, signIn: current, session: readRequest().body, hasEvents: hasEvents(), microphone: byId('microphone').checked
  }
  const mine = ++turn
  byId('mint').disabled = true
  try {
    // Otherwise the user's own call could be in the way.
    await clearAnswer()
    if (mine !== turn) return
    announce('Calling …')
    const placed = await placeCall(request)
    if (mine !== turn) placed.leave()
    else if (placed.exchange.ok) {
      const { hasEvents } = request
      showCall({ ...placed, hasEvents, isReal: config.isReal, allow: policy?.sessions.realtime?.allow ?? {} })
    } else showRefused(placed.exchange, { kind: 'realtime', sessions: policy?.sessions, isCall: true })
  } finally {
    if (current !== undefined) byId('mint').disabled = false
  }
}

function kindOf (body) {
  try {
    return JSON.parse(body).session?.type ?? 'realtime'
  } catch {
    return kind
  }
}

/** Shows a failure of `action`, with a button to try again. */
async function attempt (action) {
  byId('trouble').hidden = true
  byId('ask').setAttribute('aria-busy', 'true')
  try {
    await action()
  } catch (error) {
    if (error instanceof Unreachable) showTrouble(error.message, () => attempt(action))
    else if (error instanceof InvalidField || error instanceof NoMicrophone) showTrouble(error.message)
    else throw error
  } finally {
    byId('ask').removeAttribute('aria-busy')
  }
}

function showTrouble (text, again) {
  byId('trouble').replaceChildren(
    h('p', {}, text), again === undefined ? '' : h('button', { type: 'button', onclick: again }, 'Try again')
  )
  byId('trouble').hidden = false
}
