// Shows the response to a mint: the client secret and its session, or an explanation of the refusal.

import { byId, copyButton, folded, h, masked, pretty, speak } from './page.js'
import { connection } from './connection.js'
import { duration, explain } from './words.js'

/** Ends the countdown and the connection of the previous response. */
let endLast = () => {}

export function clearAnswer () {
  endLast()
  endLast = () => {}
  byId('outcome').className = 'empty'
  byId('outcome').replaceChildren(h(
    'p',
    {},
    'Nothing minted yet. Leave the form empty and press ',
    h('strong', {}, 'Mint a client secret'),
    '.'
  ))
}

export function showRefused (exchange, { kind, sessions }) {
  const { code, param, message = 'Ephemint gave no reason.' } = exchange.answer?.error ?? {}
  const explanation = explain(
    { code, message, param: param ?? null, retryAfter: exchange.headers['retry-after'] ?? null }, { kind, sessions }
  )
  show('refused', [
    h('p', { class: 'verdict' }, `Refused, ${exchange.status}`),
    param && h('p', { class: 'path' }, h('span', { class: 'unseen' }, 'Refused path: '), h('code', {}, param)),
    h('p', {}, explanation.text, explanation.advice === '' ? '' : ` ${explanation.advice}`),
    ...folds(exchange, true)
  ])
  speak(`Refused. ${param ? `${param}: ` : ''}${explanation.text} ${explanation.advice}`)
}

export function showGranted (exchange, { kind, limits, isReal }) {
  const { answer, headers } = exchange
  const { value, expires_at: expiresAt } = answer.client_secret ?? answer
  const session = answer.session ??
    Object.fromEntries(Object.entries(answer).filter(([key]) => key !== 'client_secret'))
  const connecting = connection({ kind, url: headers['x-realtime-url'], secret: value, model: session.model, isReal })
  const life = lifetime(expiresAt, connecting.expire)
  show('granted', [
    h('p', { class: 'verdict' }, 'Minted'),
    h('div', { class: 'secret' },
      h('div', {}, h('span', { class: 'caption' }, 'Client secret'), h('code', { id: 'secret' }, masked(value))),
      copyButton('the client secret', () => value)),
    life.element,
    limitsOf(limits),
    connecting.element,
    folded('Minted session', pretty(session)),
    ...folds(exchange)
  ])
  endLast = () => { life.end(); connecting.end() }
  speak(`Minted. The secret is valid for ${duration(expiresAt - nowSeconds())}.`)
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
  return [
    folded('Request sent', masked(`${sent.method} ${sent.url}\n\n${sent.body}`), isOpen),
    folded(
      'Response received',
      `${status}\n${Object.entries(headers).map(([name, value]) => `${name}: ${value}\n`).join('')}\n${pretty(answer)}`
    )
  ]
}

/** Counts down by the browser's clock, and announces the end once. */
function lifetime (expiresAt, onEnd) {
  const whole = Math.max(1, expiresAt - nowSeconds())
  const text = h('span', { role: 'timer', 'aria-label': 'Lifetime of the secret' })
  const bar = h('div', { class: 'bar' }, h('div'))
  const element = h('div', { class: 'life' }, text, bar)
  const timer = setInterval(tick, 250)
  tick()
  return { element, end: () => clearInterval(timer) }

  function tick () {
    const left = Math.max(0, Math.ceil(expiresAt - Date.now() / 1000))
    text.textContent = left > 0
      ? `valid for another ${duration(left)}`
      : 'has expired: it opens no more sessions'
    bar.firstChild.style.inlineSize = `${100 * left / whole}%`
    if (left > 0) return
    clearInterval(timer)
    element.classList.add('over')
    speak('The secret has expired.')
    onEnd()
  }
}

function limitsOf (limits) {
  const windows = Object.entries(limits)
  if (windows.length === 0) return null
  return h('dl', { class: 'limits' }, windows.map(([window, { limit, remaining, reset }]) => h('div', {},
    h('dt', {}, `Left this ${window}`),
    h('dd', {}, `${remaining} of ${limit}`, remaining < limit && h('small', {}, `resets in ${duration(reset)}`)))))
}

function nowSeconds () {
  return Math.floor(Date.now() / 1000)
}
