// The level of a line, as a word for people and in the capitals of Google Cloud Logging, which others read too.

const SEVERITIES = {
  trace: 'DEBUG', debug: 'DEBUG', info: 'INFO', warn: 'WARNING', error: 'ERROR', fatal: 'CRITICAL'
} as const

export type Level = keyof typeof SEVERITIES

export function severityOf (level: Level): Readonly<{ level: Level, severity: string }> {
  return { level, severity: SEVERITIES[level] }
}
