// Creates elements. Data becomes text, never markup, so nothing from the network runs.

/** An element. `on…` properties are listeners, the others attributes: false, null and undefined are left out. */
export function h (tag, properties = {}, ...children) {
  const element = document.createElement(tag)
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith('on')) element.addEventListener(name.slice(2), value)
    else if (value !== false && value !== null && value !== undefined) {
      element.setAttribute(name, value === true ? '' : value)
    }
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false))
  return element
}

export const byId = (id) => document.getElementById(id)

/** Announces `text` to screen readers. */
export function announce (text) {
  byId('spoken').textContent = text
}

/** Masks client secrets, so that no screenshot shows one. */
export function masked (text) {
  return text.replaceAll(/\bek_\w+/g, (secret) => `${secret.slice(0, 7)}${'•'.repeat(9)}`)
}

export function pretty (value) {
  return masked(JSON.stringify(value, null, 2))
}

export function folded (title, text, isOpen = false) {
  return h('details', { open: isOpen }, h('summary', {}, title), h('pre', { tabindex: 0, 'aria-label': title }, text))
}

/** `read` is called on each click, for the text to copy. */
export function copyButton (name, read) {
  const button = h('button', { type: 'button', class: 'copy', 'aria-label': `Copy ${name}` }, 'Copy')
  button.addEventListener('click', async () => {
    try {
      await navigator.clipboard.writeText(read())
      button.textContent = 'Copied'
      announce(`Copied ${name}.`)
      setTimeout(() => { button.textContent = 'Copy' }, 2000)
    } catch {
      button.textContent = 'Not copied'
      announce('The browser does not allow this page to copy.')
    }
  })
  return button
}

/** Radio buttons that look like cards or segments. `options`: {value, title, note?}. */
export function radios (name, options, chosen) {
  return options.map(({ value, title, note }) => h('label', {},
    h('input', { type: 'radio', name, value, checked: value === chosen }),
    h('span', {}, title, note && h('small', {}, note))))
}

/** Tabs by the ARIA Authoring Practices, with automatic activation. `panels`: {title, content}. */
export function tabs (name, panels, chosen, onChoose) {
  const buttons = panels.map(({ title }, i) =>
    h('button', { type: 'button', role: 'tab', id: `${name}-tab-${i}`, 'aria-controls': `${name}-panel-${i}` }, title))
  const bodies = panels.map(({ content }, i) =>
    h('div', { role: 'tabpanel', id: `${name}-panel-${i}`, 'aria-labelledby': `${name}-tab-${i}` }, content))
  const choose = (index, focus) => {
    for (const [i, button] of buttons.entries()) {
      button.setAttribute('aria-selected', i === index)
      button.tabIndex = i === index ? 0 : -1
      bodies[i].hidden = i !== index
    }
    if (focus) buttons[index].focus()
    onChoose(index)
  }
  for (const [i, button] of buttons.entries()) {
    button.addEventListener('click', () => choose(i, false))
    button.addEventListener('keydown', ({ key }) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[key]
      if (step !== undefined) choose((i + step + buttons.length) % buttons.length, true)
    })
  }
  choose(chosen, false)
  return h('div', { class: 'tabs' }, h('div', { role: 'tablist', 'aria-label': name }, buttons), bodies)
}
