// What a command is at, for whoever waits for it at a terminal. In a pipe nothing of it is written.

const PATIENCE_MS = 2000
const EVERY_MS = 250
const ERASE = '\r\x1b[K'

type Terminal = Readonly<{ isTTY?: boolean, write: (text: string) => unknown }>

export type Progress = Readonly<{
  /** Shown from two seconds on, until something else is told. */
  tell: (what: string) => void
  /** Makes room for a line that stays. */
  clear: () => void
  end: () => void
}>

export function startProgress (terminal: Terminal = process.stderr, now = () => performance.now()): Progress {
  if (terminal.isTTY !== true) return { tell: () => {}, clear: () => {}, end: () => {} }
  const startedAt = now()
  let shownAt = -Infinity
  let current = ''
  const show = () => {
    const at = now()
    if (at - startedAt < PATIENCE_MS || at - shownAt < EVERY_MS) return
    shownAt = at
    terminal.write(`${ERASE}${current} (${Math.floor((at - startedAt) / 1000)} s)`)
  }
  const clear = () => {
    if (shownAt > -Infinity) terminal.write(ERASE)
    shownAt = -Infinity
  }
  const timer = setInterval(show, EVERY_MS).unref()
  return {
    clear,
    tell: (what) => {
      current = what
      show()
    },
    end: () => {
      clearInterval(timer)
      clear()
    }
  }
}
