// A call that Ephemint has made: its seconds, its state, its end, and what it came to.

import { breakOuts, noBreakOuts } from './break-out.js'
import { countdown } from './countdown.js'
import { messageForm } from './message.js'
import { announce, byId, folded, h, pretty } from './page.js'
import { reach, Unreachable } from './service.js'
import { sidebandOf } from './sideband.js'
import { endOf } from './texts.js'

const POLL_MS = 2000
/** Once the line has ended, to learn why. */
const END_POLL_MS = 250
const TONE_SECONDS = 1

/**
 * Takes what `placeCall` returns. `begin` connects the line with the answer; `end` leaves the call, and resolves when
 * Ephemint has hung up.
 */
export function callView ({ exchange, url, access, line, voice, hasEvents, isReal, allow }) {
  const seconds = Number(exchange.headers['x-call-seconds'])
  let isOver = false
  let isAsking = false
  /** Why the page itself hung up. */
  let failure = null
  let lineState = 'Connecting …'
  let lineEndedMs = null
  let endsAtMs = performance.now() + seconds * 1000

  const headline = h('p', { class: 'headline' }, 'Call in progress')
  const state = h('p', { class: 'state' }, lineState)
  const say = voice.speak !== undefined &&
    h('button', { type: 'button', hidden: true, onclick: () => voice.speak(TONE_SECONDS) }, 'Say something')
  const hangUpButton = h('button', { type: 'button', onclick: hangUp }, 'Hang up')
  const message = hasEvents && messageForm(line.send)
  const tries = hasEvents ? breakOuts({ send: line.send, url, allow }) : null
  const time = countdown({
    label: 'Time left',
    whole: seconds,
    left: () => (endsAtMs - performance.now()) / 1000,
    words: (left) => left > 0 ? `${left} s left of at most ${seconds} s` : 'The time is up.',
    onOver: ask
  })
  const sideband = isReal ? null : sidebandOf(line.offer)
  const receipt = h('div', { class: 'receipt', hidden: true })
  const element = h('div', { class: 'call' },
    headline,
    time.element,
    h('div', { class: 'state-row' }, state, h('div', { class: 'buttons' }, say, hangUpButton)),
    message,
    receipt,
    tries?.element ?? noBreakOuts(),
    sideband?.element)
  let timer = setInterval(ask, POLL_MS)
  addEventListener('pagehide', leave)
  return { element, begin, end: leave }

  async function begin () {
    try {
      await line.take(exchange.answer, {
        onOpen: () => {
          if (isOver) return
          setLineState('Connected by WebRTC.')
          if (say) say.hidden = false
          if (message) message.hidden = false
        },
        onEvent: (event) => tries?.hear(event),
        // Ephemint knows why.
        onEnd: (reason) => {
          if (isOver) return
          lineEndedMs = performance.now()
          setLineState(reason)
          clearInterval(timer)
          timer = setInterval(ask, END_POLL_MS)
          ask()
        },
        onNoPath: () => fail('No network path was found.')
      })
    } catch (error) {
      fail(`The answer cannot be used: ${error.message}`)
    }
  }

  function fail (text) {
    if (isOver) return
    failure = text
    setLineState(text)
    hangUp()
  }

  /** `keepalive`: the request goes out although its page is left. */
  function hangUp () {
    return follow(reach('Ephemint', `${url}/hangup`, { ...access, method: 'POST', keepalive: true }))
  }

  async function leave () {
    if (isOver) return
    const hungUp = hangUp()
    // Closed before, the line could end the call with another reason.
    finish('You left the call.', { hungUp })
    await hungUp
  }

  async function ask () {
    if (isAsking || isOver) return
    isAsking = true
    await follow(reach('Ephemint', url, access))
    isAsking = false
  }

  async function follow (request) {
    try {
      const response = await request
      const call = await response.json()
      if (isOver) return
      if (response.ok) show(call)
      else if (response.status === 404) finish('Ephemint knows nothing of this call any more.')
      else setState(call.error.message)
    } catch (error) {
      if (!isOver && error instanceof Unreachable) setState(error.message)
      else if (!isOver) throw error
    }
  }

  function show (call) {
    if (call.status === 'ended') {
      receipt.append(receiptOf(call))
      return finish(failure ?? endOf(call.end_reason), { cause: call.end_reason })
    }
    setState(call.status === 'ending' ? 'Ephemint is ending the call …' : lineState)
    // A changed policy can shorten it.
    endsAtMs = Math.min(endsAtMs, performance.now() + (call.ends_at - call.created_at - call.seconds + 1) * 1000)
  }

  function finish (reason, { hungUp = Promise.resolve(), cause = null } = {}) {
    const wasHere = element.contains(document.activeElement)
    isOver = true
    clearInterval(timer)
    removeEventListener('pagehide', leave)
    time.end()
    sideband?.end()
    tries?.end(cause, lineEndedMs ?? performance.now())
    hungUp.then(line.close)
    headline.textContent = 'Call ended'
    for (const part of [time.element, say, hangUpButton, message]) if (part) part.hidden = true
    receipt.hidden = false
    state.textContent = reason
    announce(`The call has ended. ${reason}`)
    // The focused button is hidden now.
    if (wasHere) byId('answer').focus()
  }

  function setLineState (text) {
    lineState = text
    setState(text)
  }

  function setState (text) {
    if (state.textContent === text) return
    state.textContent = text
    announce(text)
  }
}

function receiptOf (call) {
  const { seconds, usage } = call
  return h('div', {},
    h('dl', { class: 'limits' }, [
      ['Lasted', `${seconds} s`],
      ['Answers', usage.responses],
      ['Input tokens', usage.input_tokens],
      ['Output tokens', usage.output_tokens]
    ].map(([title, value]) => h('div', {}, h('dt', {}, title), h('dd', {}, value)))),
    folded('The call, as Ephemint reports it', pretty(call)))
}
