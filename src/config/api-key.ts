// The form of an OpenAI key, wherever it comes from. A key in quotation marks would be sent with
// them, and OpenAI would refuse each mint.

/** `NAME=` in front, as in an environment file. */
const ASSIGNED = /^(export +)?([A-Z_]*API_KEY[A-Z_]* *=|\w+ *= *["']?sk-)/

/** Says why a key cannot be right, without the key; null if it may be. */
export function keyFault (value: string): string | null {
  if (value === '') return 'is empty'
  if (ASSIGNED.test(value)) return 'has a name and = before the key: leave them out'
  if (isQuoted(value)) return 'has quotation marks around the key: leave them out'
  if (/\\[nrt]$/.test(value)) return 'ends with a backslash and a letter, which are no line end: leave them out'
  if (/\s/.test(value)) return 'has a space or a line break: a second key, or a comment behind it?'
  return /^[\x21-\x7e]+$/.test(value) ? null : 'has characters that no header may have'
}

/** At one end at least. */
export function isQuoted (value: string): boolean {
  return /^["'`]|["'`]$/.test(value)
}
