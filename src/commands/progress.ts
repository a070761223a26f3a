// Shows the current step of a command on a terminal. Writes nothing to a pipe.

const SHOWN_AFTER_MS = 2000
const EVERY_MS = 250
const ERASE = '\r\x1b[K'

type Terminal = Readonly<{ isTTY?: boolean, write: (text: string) => unknown }>

export type Progress = Readonly<{
  /** Sets the current step. It is visible once the command has run for two seconds. */
  show: (step: string) => void
  /** Erases the step before a line of output. */
  clear: () => void
  end: () => void
}>

export function startProgress (terminal: Terminal = process.stderr, now = () => performance.now()): Progress {
  if (terminal.isTTY !== true) return { show: () => {}, clear: () => {}, end: () => {} }
  const startedAt = now()
  let shownAt = -Infinity
  let current = ''
  const draw = () => {
    const at = now()
    if (at - startedAt < SHOWN_AFTER_MS || at - shownAt < EVERY_MS) return
    shownAt = at
    terminal.write(`${ERASE}${current} (${Math.floor((at - startedAt) / 1000)} s)`)
  }
  const clear = () => {
    if (shownAt > -Infinity) terminal.write(ERASE)
    shownAt = -Infinity
  }
  const timer = setInterval(draw, EVERY_MS).unref()
  return {
    clear,
    show: (step) => {
      current = step
      draw()
    },
    end: () => {
      clearInterval(timer)
      clear()
    }
  }
}
