// Shows the response to a mint: the client secret and its session, or an explanation of the refusal.

import { callView } from './call.js'
import { connection } from './connection.js'
import { countdown } from './countdown.js'
import { announce, byId, copyButton, folded, h, masked, pretty } from './page.js'
import { duration, explain } from './texts.js'

/** Ends the countdown, the connection or the call of the previous response. */
let endLast = async () => {}

/** Resolves when a call that was shown has been hung up. */
export async function clearAnswer () {
  const ended = endLast()
  endLast = async () => {}
  byId('outcome').className = 'empty'
  byId('outcome').replaceChildren(h(
    'p',
    {},
    'Nothing here yet. Leave the form empty and press ',
    h('strong', {}, byId('mint').textContent),
    '.'
  ))
  await ended
}

export function showRefused (exchange, { kind, sessions, isCall = false }) {
  const { code, param, message = 'Ephemint gave no reason.' } = exchange.answer?.error ?? {}
  const retryAfter = exchange.headers['retry-after'] ?? null
  const explanation = explain({ code, message, param: param ?? null, retryAfter }, { kind, sessions, isCall })
  show('refused', [
    h('p', { class: 'headline' }, `Refused, ${exchange.status}`),
    param && h('p', { class: 'path' }, h('span', { class: 'unseen' }, 'Refused path: '), h('code', {}, param)),
    h('p', {}, explanation.text, explanation.advice === '' ? '' : ` ${explanation.advice}`),
    ...folds(exchange, true)
  ])
  announce(`Refused. ${param ? `${param}: ` : ''}${explanation.text} ${explanation.advice}`)
}

export function showGranted (exchange, { kind, limits, isReal }) {
  const { answer, headers } = exchange
  const { value, expires_at: expiresAt } = answer.client_secret ?? answer
  const session = answer.session ??
    Object.fromEntries(Object.entries(answer).filter(([key]) => key !== 'client_secret'))
  const connecting = connection({ kind, url: headers['x-realtime-url'], secret: value, model: session.model, isReal })
  const life = lifetime(expiresAt, connecting.expire)
  show('granted', [
    h('p', { class: 'headline' }, 'Minted'),
    h('div', { class: 'secret' },
      h('div', {}, h('span', { class: 'caption' }, 'Client secret'), h('code', { id: 'secret' }, masked(value))),
      copyButton('the client secret', () => value)),
    life.element,
    limitsOf(limits),
    connecting.element,
    folded('Minted session', pretty(session)),
    ...folds(exchange)
  ])
  endLast = async () => { life.end(); connecting.end() }
  announce(`Minted. The secret is valid for ${duration(expiresAt - nowSeconds())}.`)
}

/** `call` is what `callView` takes. */
export function showCall (call) {
  const view = callView(call)
  show('granted', [view.element, ...folds(call.exchange)])
  endLast = view.end
  view.begin()
}

function show (className, children) {
  clearAnswer()
  byId('outcome').className = className
  byId('outcome').replaceChildren(...children.filter((child) => child))
  byId('answer').parentElement.scrollTop = 0
  // On a narrow screen the response is below the form.
  if (byId('answer').getBoundingClientRect().top > innerHeight / 2) byId('answer').scrollIntoView({ block: 'start' })
}

function folds ({ sent, status, headers, answer }, isOpen = false) {
  const head = Object.entries(headers).map(([name, value]) => `${name}: ${value}\n`).join('')
  const body = typeof answer === 'string' ? answer : pretty(answer)
  return [
    folded('Request sent', masked(`${sent.method} ${sent.url}\n\n${sent.body}`), isOpen),
    folded('Response received', `${status}\n${head}\n${body}`)
  ]
}

/** By the browser's clock. The end is announced once. */
function lifetime (expiresAt, onEnd) {
  return countdown({
    label: 'Lifetime of the secret',
    whole: Math.max(1, expiresAt - nowSeconds()),
    left: () => expiresAt - Date.now() / 1000,
    words: (left) => left > 0 ? `valid for another ${duration(left)}` : 'has expired: it opens no more sessions',
    onOver: () => {
      announce('The secret has expired.')
      onEnd()
    }
  })
}

function limitsOf ({ call_seconds: callSeconds = {}, ...mints }) {
  const windows = [
    ...Object.entries(mints).map(([window, state]) => [`Left this ${window}`, state]),
    ...Object.entries(callSeconds).map(([window, state]) => [`Seconds of calls left this ${window}`, state])
  ]
  if (windows.length === 0) return null
  return h('dl', { class: 'limits' }, windows.map(([title, { limit, remaining, reset }]) => h('div', {},
    h('dt', {}, title),
    h('dd', {}, `${remaining} of ${limit}`, remaining < limit && h('small', {}, `resets in ${duration(reset)}`)))))
}

function nowSeconds () {
  return Math.floor(Date.now() / 1000)
}
