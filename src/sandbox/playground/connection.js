// Connecting with what was minted, and what is then said.

import { connectByWebRtc, connectByWebSocket } from './connect.js'
import { h, masked, pretty, speak } from './page.js'

/** `expire` is told when the secret opens nothing any more; a session that is open goes on. */
export function connection ({ kind, url, secret, model, isReal }) {
  let line = null
  let isExpired = false
  let isOver = false
  const microphone = h('input', { type: 'checkbox', checked: isReal })
  const state = h('p', { class: 'state' }, 'Not connected.')
  const events = h('ol')
  const log = h(
    'div', { class: 'events', role: 'log', 'aria-label': 'Events of the session', tabindex: 0, hidden: true }, events
  )
  const said = h(
    'input', { type: 'text', 'aria-label': 'Something to say', placeholder: 'Say something', autocomplete: 'off' }
  )
  const sayForm = h(
    'form', { class: 'say', hidden: true, onsubmit: say }, said, h('button', { type: 'submit' }, 'Send')
  )
  const open = [['WebRTC', byWebRtc], ['WebSocket', byWebSocket]].map(([name, connect]) =>
    h('button', { type: 'button', onclick: () => begin(name, connect) }, `Connect by ${name}`))
  const hangUp = h('button', { type: 'button', hidden: true, onclick: () => line?.close() }, 'Hang up')

  const choice = h('div', { class: 'choice' }, h('div', { class: 'buttons' }, open), h(
    'label', { class: 'check' }, microphone, 'with my microphone (WebRTC)'
  ))

  const element = h('section', { class: 'connect', 'aria-label': 'Connect' },
    h('h3', {}, 'Connect'),
    h('p', { class: 'hint' }, 'With the secret to ', h('code', {}, url), ', past Ephemint.'),
    choice, h('div', { class: 'state-row' }, state, hangUp), sayForm, log)
  return { element, expire, end: () => { isOver = true; line?.close() } }

  async function begin (name, connect) {
    enable(false)
    events.replaceChildren()
    log.hidden = true
    tell(`Connecting by ${name} …`)
    try {
      line = await connect({
        url,
        secret,
        onOpen: () => {
          tell(`Connected by ${name}.`)
          choice.hidden = true
          hangUp.hidden = false
          hangUp.focus()
          sayForm.hidden = kind !== 'realtime'
        },
        onEvent: (event) => note('from the API', event),
        onEnd: finish
      })
      // Another answer has come while this was dialling.
      if (isOver) line.close()
    } catch (error) {
      finish(error instanceof TypeError ? `Nobody answers at ${new URL(url).origin}.` : error.message)
    }
  }

  function byWebRtc (options) {
    return connectByWebRtc({ ...options, microphone: microphone.checked })
  }

  function byWebSocket (options) {
    const query = {
      realtime: model === undefined
        ? {}
        : { model },
      transcription: { intent: 'transcription' },
      translation: {}
    }[kind]
    return connectByWebSocket({ ...options, query })
  }

  function finish (words) {
    line = null
    if (isOver) return
    const wasHere = element.contains(document.activeElement)
    choice.hidden = false
    hangUp.hidden = sayForm.hidden = true
    enable(!isExpired)
    // What was pressed is gone: the keyboard goes on from what is there now.
    if (wasHere && !isExpired) open[0].focus()
    tell(words)
  }

  function say (event) {
    event.preventDefault()
    const text = said.value.trim()
    if (text === '') return
    for (const sent of [
      {
        type: 'conversation.item.create',
        item: { type: 'message', role: 'user', content: [{ type: 'input_text', text }] }
      },
      { type: 'response.create' }
    ]) {
      line.send(sent)
      note('from here', sent)
    }
    said.value = ''
  }

  function note (whence, event) {
    const summary = [h('code', {}, event.type), ' ', h('span', { class: 'gist' }, masked(gist(event)))]
    log.hidden = false
    events.append(h('li', { class: whence === 'from here' ? 'ours' : 'theirs' },
      h('details', {}, h('summary', {}, h('span', { class: 'unseen' }, `${whence}: `), summary), h(
        'pre', { tabindex: 0, 'aria-label': event.type }, pretty(event)
      ))))
    log.scrollTop = log.scrollHeight
  }

  function tell (words) {
    state.textContent = words
    speak(words)
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

/** What one looks for in an event. */
function gist ({ type, session, error, response, item, delta }) {
  if (session !== undefined) {
    return [session.model, session.audio?.output?.voice, session.instructions].filter(Boolean).join(' · ').slice(0, 120)
  }
  if (error !== undefined) return [error.param, error.message].filter(Boolean).join(': ')
  const text = response?.output?.[0]?.content?.[0]?.text ?? item?.content?.[0]?.text
  return type.endsWith('delta') ? String(delta) : text ?? ''
}
