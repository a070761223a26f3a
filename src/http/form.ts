// multipart/form-data (RFC 7578), read strictly. Libraries accept what clients get wrong: they skip parts without a
// name, let the last of two names win, decode base64 and repair text. Here all of that is refused.

import { ApiError } from '../errors.ts'

/** `fileName` is null where the part has none. */
export type Part = Readonly<{ name: string, fileName: string | null, content: Buffer }>

// No backtracking over white space: a form may be 96 KiB of it.
const BOUNDARY = /^multipart\/form-data\s*;\s*boundary=(?:"([^"\r\n]{1,70})"|([^\s;"]{1,70}))\s*(?:;\s*)?$/i
const HEADER = /^([!#$%&'*+.^`|~\w-]+):([\t\x20-\x7e\x80-\xff]*)$/
const PART_TYPE = /^(?!multipart|message)[\w.+-]+\/[\w.+-]+[ \t]*(?:;[ \t]*charset="?utf-?8"?[ \t]*)?(?:;[ \t]*)?$/i
const PARAMETER = /;[ \t]*(name|filename)=(?:"([^"\\]*)"|([^\s;"\\]+))[ \t]*/giy

/** Throws ApiError `invalid_request`. */
export function readForm (body: Buffer, contentType: string): Part[] {
  const [, quoted, bare] = BOUNDARY.exec(contentType) ?? malformed()
  // Each delimiter begins with the line break before it. Latin-1 keeps every byte.
  const [before, ...parts] = `\r\n${body.toString('latin1')}`.split(`\r\n--${quoted ?? bare}`)
  const after = parts.pop() as string
  if (before !== '' || !['--', '--\r\n'].includes(after)) return malformed()
  return parts.map(readPart)
}

function readPart (part: string): Part {
  const end = part.indexOf('\r\n\r\n')
  if (!part.startsWith('\r\n') || end === -1) return malformed()
  const headers = part.slice(2, end).split('\r\n').map(parseHeader)
  const dispositions = headers.filter(({ name }) => name === 'content-disposition')
  const [disposition, ...others] = dispositions
  if (disposition === undefined || others.length > 0 || !headers.every(isOfPlainText)) return malformed()
  return { ...readDisposition(disposition.value), content: Buffer.from(part.slice(end + 4), 'latin1') }
}

type Header = Readonly<{ name: string, value: string }>

function parseHeader (line: string): Header {
  const [, name = '', value = ''] = HEADER.exec(line) ?? malformed()
  return { name: name.toLowerCase(), value: value.trim() }
}

/** Whether the header leaves the content as it is: not encoded, in UTF-8, and no form of its own. */
function isOfPlainText ({ name, value }: Header): boolean {
  if (name === 'content-transfer-encoding') return /^(7bit|8bit|binary)$/i.test(value)
  return name !== 'content-type' || PART_TYPE.test(value)
}

function readDisposition (value: string): Omit<Part, 'content'> {
  const [type = ''] = value.split(';', 1)
  const rest = value.slice(type.length)
  const found = [...rest.matchAll(PARAMETER)]
  const parameters = new Map(found.map(([, key = '', quoted, bare]) => [key.toLowerCase(), quoted ?? bare as string]))
  const name = parameters.get('name')
  const isWhole = found.map(([whole]) => whole).join('') === rest && parameters.size === found.length
  if (type.trimEnd().toLowerCase() !== 'form-data' || !isWhole || name === undefined) return malformed()
  return { name, fileName: parameters.get('filename') ?? null }
}

function malformed (): never {
  throw new ApiError('invalid_request', { reason: 'malformed_form' })
}
