// What reading a configuration file reports to its author.

/** `path` is dotted, as in the file. A problem says what to write instead, and never a value. */
export type Fault = Readonly<{ path: string, problem: string }>

export type Report = Readonly<{
  problem: (path: string, problem: string) => void
  warning: (path: string, warning: string) => void
}>
