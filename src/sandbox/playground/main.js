// The playground: who is asking, for what, and what comes of it.

import { clearAnswer, showGranted, showRefused } from './answer.js'
import { InvalidField, policyForm } from './form.js'
import { byId, copyButton, h, pretty, radios, speak, tabs } from './page.js'
import { refusals } from './refusals.js'
import { ask, BETA_ROUTES, ownToken, reach, ROUTES, tidyToken, Unreachable, waysOf } from './service.js'
import { snippets } from './snippets.js'

const KINDS = { realtime: 'Realtime', transcription: 'Transcription', translation: 'Translation' }

let config
let ways = []
let way
let kind = 'realtime'
let policy = null
let form = null
let codeTab = 0
/** Of two sign-ins under way the later one counts. */
let turn = 0

byId('ask').addEventListener('submit', (event) => { event.preventDefault(); attempt(mintAsked) })
byId('ask').addEventListener(
  'reset', (event) => { event.preventDefault(); clearAnswer(); attempt(async () => showForm()) }
)
byId('ask').addEventListener('input', showCode)
byId('use-token').addEventListener('click', () => attempt(useOwnToken))
byId('ways').addEventListener('change', ({ target }) => attempt(() => choose(target.value)))
byId('kinds').addEventListener('change', ({ target }) => { kind = target.value; showForm() })
byId('modes').addEventListener('change', ({ target }) => showMode(target.value))
attempt(start)

async function start () {
  config = await (await reach('The playground', '/config.json')).json()
  if (config === null) throw new Unreachable('Ephemint is still starting.')
  ways = await waysOf(config)
  byId('ways').lastElementChild.replaceChildren(...radios('way', [
    ...ways, { id: 'own', title: 'Your own token', note: 'of any issuer in the policy file' }
  ].map((one) => ({ value: one.id, ...one })), ways[0].id))
  byId('kinds').lastElementChild.replaceChildren(
    ...radios('kind', Object.entries(KINDS).map(([value, title]) => ({ value, title })), kind)
  )
  byId('places').textContent = `Ephemint listens at ${config.mintUrl}.`
  await choose(ways[0].id)
}

async function choose (id) {
  const isOwn = id === 'own'
  byId('own-token').hidden = !isOwn
  if (!isOwn) return signIn(ways.find((one) => one.id === id))
  turn += 1
  signOut()
  showForm()
  byId('token').focus()
}

/** Nobody is asking until Ephemint has said who it takes them for. */
function signOut () {
  way = undefined
  policy = null
  byId('mint').disabled = true
  clearAnswer()
}

async function useOwnToken () {
  const token = tidyToken(byId('token').value)
  if (token === '') return showTrouble('There is no token to use: paste one first.')
  // A header takes no other characters: the browser would throw, and say little.
  if (!/^[\x21-\x7e]+$/.test(token)) return showTrouble('This is no token: it holds characters that no token has.')
  byId('token').value = token
  await signIn(ownToken(token))
}

async function signIn (chosen) {
  const mine = ++turn
  signOut()
  const exchange = await ask(config, chosen, 'realtime/policy')
  if (mine !== turn) return
  way = chosen
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
  byId('policy').textContent = policy === null ? 'There is none.' : pretty(policy)
  byId('policy-line').textContent = policyLine(rules)
  byId('refusals').replaceChildren(...(policy === null ? [] : refusals(kind, policy.sessions)).map((one) =>
    h('li', {}, h('button', { type: 'button', onclick: () => attempt(() => send(one.path, one.body)) }, one.title))))
  byId('route').replaceChildren(
    ...[...new Set([ROUTES[kind], ...Object.values(ROUTES), ...BETA_ROUTES])].map((path) => h('option', {}, path))
  )
  showMode(new FormData(byId('ask')).get('mode'))
}

function policyLine (rules) {
  if (way === undefined) return 'Use the token, and see what it is good for.'
  if (policy === null) return 'Ephemint tells this user nothing.'
  if (rules === undefined) return `The policy grants this user no ${kind} session. Ask all the same, and see.`
  const old = rules.models.length === 0 ? '' : ` Old models that are understood: ${rules.models.join(', ')}.`
  return `What is left alone, the policy decides.${old}`
}

/** The JSON begins as what the form says. */
function showMode (mode) {
  const isForm = mode === 'form'
  byId('fields').hidden = !isForm
  byId('by-hand').hidden = isForm
  if (!isForm) byId('body').value = JSON.stringify(readForm() ?? {}, null, 2)
  showCode()
}

/** Undefined while a field says nothing that can be read. */
function readForm () {
  try {
    return form.read()
  } catch (error) {
    if (error instanceof InvalidField) return undefined
    throw error
  }
}

function asked () {
  if (new FormData(byId('ask')).get('mode') === 'json') return { path: byId('route').value, body: byId('body').value }
  return { path: ROUTES[kind], body: JSON.stringify(form.read()) }
}

function showCode () {
  if (way === undefined) return byId('code').replaceChildren(h('p', { class: 'hint' }, 'Nobody is asking yet.'))
  if (readForm() === undefined) return
  const { path, body } = asked()
  byId('code').replaceChildren(tabs('Language', snippets(config, way, path, body).map(({ title, text }) => ({
    title,
    content: [
      h('pre', { tabindex: 0, 'aria-label': `${title} code` }, text), copyButton(`the ${title} code`, () => text)
    ]
  })), codeTab, (chosen) => { codeTab = chosen }))
}

async function mintAsked () {
  const { path, body } = asked()
  await send(path, body)
}

async function send (path, body) {
  if (way === undefined) return showTrouble('Nobody is signed in: choose who is asking.')
  const [mine, asker] = [turn, way]
  speak('Asking …')
  const exchange = await ask(config, asker, path, body)
  // Somebody else is asking by now.
  if (mine !== turn) return
  const asking = path.includes('transcription_')
    ? 'transcription'
    : path === ROUTES.translation ? 'translation' : kindOf(body)
  if (!exchange.ok) return showRefused(exchange, { kind: asking, sessions: policy?.sessions })
  // A secret that is there is shown, whatever becomes of this.
  const limits = await ask(config, asker, 'realtime/policy').then(({ answer }) => answer.limits ?? {}, () => ({}))
  if (mine === turn) showGranted(exchange, { kind: asking, limits, isReal: config.isReal })
}

function kindOf (body) {
  try {
    return JSON.parse(body).session?.type ?? 'realtime'
  } catch {
    return kind
  }
}

/** What goes wrong is said in words, and can be tried again. */
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

function showTrouble (words, again) {
  byId('trouble').replaceChildren(
    h('p', {}, words), again === undefined ? '' : h('button', { type: 'button', onclick: again }, 'Try again')
  )
  byId('trouble').hidden = false
}
