// A form that sends a typed message into a session.

import { h } from './page.js'

/** `send` is called with each event. */
export function messageForm (send) {
  const message = h('input', {
    type: 'text', 'aria-label': 'Message to send', placeholder: 'Type a message', autocomplete: 'off'
  })
  return h('form', { class: 'message', hidden: true, onsubmit }, message, h('button', { type: 'submit' }, 'Send'))

  function onsubmit (event) {
    event.preventDefault()
    const text = message.value.trim()
    if (text === '') return
    send({
      type: 'conversation.item.create',
      item: { type: 'message', role: 'user', content: [{ type: 'input_text', text }] }
    })
    send({ type: 'response.create' })
    message.value = ''
  }
}
