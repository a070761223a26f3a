// The events of a call's sideband, as the sandbox's emulator lists them.

import { h } from './page.js'

const MAX_EVENTS = 100

/** The newest event is on top. */
export function sidebandOf (offer) {
  const events = h('ol')
  const source = new EventSource(`sideband/${/^o=\S+ (\d+) /m.exec(offer)[1]}`)
  // After a reconnection the events come again.
  source.onopen = () => events.replaceChildren()
  source.onmessage = ({ data }) => {
    const { type, at } = JSON.parse(data)
    events.prepend(h('li', {},
      h('time', { datetime: new Date(at).toISOString() }, new Date(at).toLocaleTimeString('en-GB')),
      // Long names break behind a dot or an underscore.
      h('code', {}, type.split(/(?<=[._])/).flatMap((part) => [h('wbr'), part]))))
    if (events.children.length > MAX_EVENTS) events.lastChild.remove()
  }
  const element = h('section', { class: 'sideband', 'aria-label': 'What the sideband sees' },
    h('h3', {}, 'What the sideband sees'),
    h('p', { class: 'hint' },
      'Ephemint follows the call over a WebSocket of its own, the sideband, which no page can see. The emulator of ' +
      'the sandbox shows here what it sends there, newest first.'),
    h('div',
      { class: 'events', role: 'log', 'aria-live': 'off', 'aria-label': 'Sideband events', tabindex: 0 }, events))
  return { element, end: () => source.close() }
}
