// The playground: choose a user and a session, mint, and see the response.

import { clearAnswer, showGranted, showRefused } from './answer.js'
import { InvalidField, policyForm } from './form.js'
import { byId, copyButton, h, pretty, radios, speak, tabs } from './page.js'
import { refusals } from './refusals.js'
import { ask, BETA_ROUTES, ownToken, reach, ROUTES, tidyToken, Unreachable, signInsOf } from './service.js'
import { snippets } from './snippets.js'

const KINDS = { realtime: 'Realtime', transcription: 'Transcription', translation: 'Translation' }

let config
let signIns = []
let current
let kind = 'realtime'
let policy = null
let form = null
let codeTab = 0
/** Counts sign-ins: of two under way only the later one takes effect. */
let turn = 0

byId('ask').addEventListener('submit', (event) => { event.preventDefault(); attempt(mint) })
byId('ask').addEventListener(
  'reset', (event) => { event.preventDefault(); clearAnswer(); attempt(async () => showForm()) }
)
byId('ask').addEventListener('input', showCode)
byId('use-token').addEventListener('click', () => attempt(useOwnToken))
byId('sign-ins').addEventListener('change', ({ target }) => attempt(() => choose(target.value)))
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
  if (exchange.ok) speak(`${chosen.title} may mint ${Object.keys(policy.sessions).join(', ') || 'nothing'}.`)
  else showRefused(exchange, { kind, sessions: undefined })
}

function showForm () {
  const rules = policy?.sessions[kind]
  form = policyForm(kind, rules ?? { allow: {}, prompts: [], expires_after: { default: 60, max: 7200 } })
  byId('fields').replaceChildren(form.element)
  byId('policy').textContent = policy === null ? 'None.' : pretty(policy)
  byId('policy-line').textContent = policyLine(rules)
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
  if (rules === undefined) return `The policy grants this user no ${kind} session. Mint one to see the refusal.`
  const old = rules.models.length === 0 ? '' : ` Old model names that also work: ${rules.models.join(', ')}.`
  return `The policy decides every field that you leave empty.${old}`
}

/** The JSON starts with the values of the form. */
function showMode (mode) {
  const isForm = mode === 'form'
  byId('fields').hidden = !isForm
  byId('by-hand').hidden = isForm
  if (!isForm) byId('body').value = JSON.stringify(readForm() ?? {}, null, 2)
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

function readRequest () {
  if (new FormData(byId('ask')).get('mode') === 'json') return { path: byId('route').value, body: byId('body').value }
  return { path: ROUTES[kind], body: JSON.stringify(form.read()) }
}

function showCode () {
  if (current === undefined) return byId('code').replaceChildren(h('p', { class: 'hint' }, 'Not signed in.'))
  if (readForm() === undefined) return
  const { path, body } = readRequest()
  byId('code').replaceChildren(tabs('Language', snippets(config, current, path, body).map(({ title, text }) => ({
    title,
    content: [
      h('pre', { tabindex: 0, 'aria-label': `${title} code` }, text), copyButton(`the ${title} code`, () => text)
    ]
  })), codeTab, (chosen) => { codeTab = chosen }))
}

async function mint () {
  const { path, body } = readRequest()
  await send(path, body)
}

async function send (path, body) {
  if (current === undefined) return showTrouble('Not signed in: choose a user first.')
  const [mine, signedIn] = [turn, current]
  speak('Minting …')
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
    else if (error instanceof InvalidField) showTrouble(error.message)
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
