// The part of the page that connects with the minted secret and shows the events of the session.

import { connectByWebRtc, connectByWebSocket } from './connect.js'
import { messageForm } from './message.js'
import { announce, h, masked, pretty } from './page.js'

/** Call `expire` when the secret has expired; an open session goes on. */
export function connection ({ kind, url, secret, model, isReal }) {
  let line = null
  let isExpired = false
  let isOver = false
  const microphone = h('input', { type: 'checkbox', checked: isReal })
  const state = h('p', { class: 'state' }, 'Not connected.')
  const events = h('ol')
  const log = h(
    'div', { class: 'events', role: 'log', 'aria-label': 'Session events', tabindex: 0, hidden: true }, events
  )
  const message = messageForm((event) => {
    line.send(event)
    showEvent('sent', event)
  })
  const open = [['WebRTC', byWebRtc], ['WebSocket', byWebSocket]].map(([name, connect]) =>
    h('button', { type: 'button', onclick: () => begin(name, connect) }, `Connect by ${name}`))
  const hangUp = h('button', { type: 'button', hidden: true, onclick: () => line?.close() }, 'Hang up')

  const choice = h('div', { class: 'choice' },
    h('div', { class: 'buttons' }, open),
    h('label', { class: 'check' }, microphone, 'with my microphone (WebRTC)'))

  const element = h('section', { class: 'connect', 'aria-label': 'Connect' },
    h('h3', {}, 'Connect'),
    h('p', { class: 'hint' }, 'Connects directly to ', h('code', {}, url), ', without Ephemint.'),
    choice, h('div', { class: 'state-row' }, state, hangUp), message, log)
  return { element, expire, end: () => { isOver = true; line?.close() } }

  async function begin (name, connect) {
    enable(false)
    events.replaceChildren()
    log.hidden = true
    setState(`Connecting by ${name} …`)
    try {
      line = await connect({
        url,
        secret,
        onOpen: () => {
          setState(`Connected by ${name}.`)
          choice.hidden = true
          hangUp.hidden = false
          hangUp.focus()
          message.hidden = kind !== 'realtime'
        },
        onEvent: (event) => showEvent('received', event),
        onEnd: finish
      })
      // The page shows another response by now.
      if (isOver) line.close()
    } catch (error) {
      finish(error instanceof TypeError ? `No response from ${new URL(url).origin}.` : error.message)
    }
  }

  function byWebRtc (options) {
    return connectByWebRtc({ ...options, microphone: microphone.checked })
  }

  function byWebSocket (options) {
    const query = {
      realtime: model === undefined ? {} : { model },
      transcription: { intent: 'transcription' },
      translation: {}
    }[kind]
    return connectByWebSocket({ ...options, query })
  }

  function finish (reason) {
    line = null
    if (isOver) return
    const wasHere = element.contains(document.activeElement)
    choice.hidden = false
    hangUp.hidden = message.hidden = true
    enable(!isExpired)
    // The focused button is hidden now: the focus moves to one that is visible.
    if (wasHere && !isExpired) open[0].focus()
    setState(reason)
  }

  function showEvent (direction, event) {
    const summary = [h('code', {}, event.type), ' ', h('span', { class: 'gist' }, masked(gist(event)))]
    log.hidden = false
    events.append(h('li', { class: direction === 'sent' ? 'ours' : 'theirs' },
      h('details', {},
        h('summary', {}, h('span', { class: 'unseen' }, `${direction}: `), summary),
        h('pre', { tabindex: 0, 'aria-label': event.type }, pretty(event)))))
    log.scrollTop = log.scrollHeight
  }

  function setState (text) {
    state.textContent = text
    announce(text)
  }

  function enable (isEnabled) {
    for (const button of open) button.disabled = !isEnabled
  }

  function expire () {
    isExpired = true
    enable(false)
    if (line === null) state.textContent = 'The secret has expired: mint another one to connect.'
  }
}

/** A short summary of an event. */
function gist ({ type, session, error, response, item, delta }) {
  if (session !== undefined) {
    return [session.model, session.audio?.output?.voice, session.instructions].filter(Boolean).join(' · ').slice(0, 120)
  }
  if (error !== undefined) return [error.param, error.message].filter(Boolean).join(': ')
  const text = response?.output?.[0]?.content?.[0]?.text ?? item?.content?.[0]?.text
  return type.endsWith('delta') ? String(delta) : text ?? ''
}
