// Problems and warnings about a configuration file, for its author.

/** `path` is dotted, as in the file. `problem` names what to write instead, and never quotes a value. */
export type Fault = Readonly<{ path: string, problem: string }>

export type Report = Readonly<{
  problem: (path: string, problem: string) => void
  warning: (path: string, warning: string) => void
}>

export type StrictReport = Report & Readonly<{
  /** Loads with a warning, but no one can mean it: a problem for `npm run check-config`. */
  mistake: (path: string, mistake: string) => void
}>
