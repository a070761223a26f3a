// Counts seconds down, with a bar.

import { h } from './page.js'

/** `left` returns the seconds, `words` their text. `onOver` is called once, at 0. */
export function countdown ({ label, whole, left, words, onOver }) {
  const text = h('span', { role: 'timer', 'aria-label': label })
  const bar = h('div', { class: 'bar' }, h('div'))
  const element = h('div', { class: 'life' }, text, bar)
  const timer = setInterval(tick, 250)
  tick()
  return { element, end }

  function tick () {
    const seconds = Math.max(0, Math.ceil(left()))
    text.textContent = words(seconds)
    bar.firstChild.style.inlineSize = `${100 * seconds / whole}%`
    if (seconds > 0) return
    end()
    element.classList.add('over')
    onOver()
  }

  function end () {
    clearInterval(timer)
  }
}
