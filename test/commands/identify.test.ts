import { createHash, createHmac } from 'node:crypto'
import t from 'tap'
import { callCommand, runCommand } from '../support/command.ts'

const SECRET = 'canary-secret-of-32-bytes-or-more'
const TEXT = 'https://auth.test/\nauth0|123'

t.test('without an issuer and a subject the usage is printed', async (t) => {
  for (const args of [[], ['https://auth.test/'], ['a', 'b', 'c']]) {
    const { code, out, err } = await callCommand('identify', args, { SAFETY_IDENTIFIER_SECRET: SECRET })
    t.equal(code, 2)
    t.equal(out, '')
    t.match(err, /^usage: /)
  }
})

t.test('a secret that is too short is refused, and not printed', async (t) => {
  const { code, out, err } = await callCommand(
    'identify', ['https://auth.test/', 'auth0|123'], { SAFETY_IDENTIFIER_SECRET: 'canary' }
  )
  t.equal(code, 1)
  t.equal(out, '')
  t.match(err, /^SAFETY_IDENTIFIER_SECRET must be 32 bytes or longer/)
  t.notMatch(err, 'canary')
})

t.test('the identifier is the hex HMAC-SHA-256 of issuer, newline and subject', async (t) => {
  const { code, out, err } = await callCommand(
    'identify', ['https://auth.test/', 'auth0|123'], { SAFETY_IDENTIFIER_SECRET: SECRET }
  )
  t.equal(out, `${createHmac('sha256', SECRET).update(TEXT).digest('hex')}\n`)
  t.equal(err, '')
  t.equal(code, 0)
  const file = `${t.testdir({ secret: `${SECRET}\n` })}/secret`
  t.equal(
    (await callCommand('identify', ['https://auth.test/', 'auth0|123'], { SAFETY_IDENTIFIER_SECRET_FILE: file })).out,
    out
  )
})

t.test('without a secret the plain hash is printed, with a warning', async (t) => {
  const { code, out, err } = await callCommand('identify', ['https://auth.test/', 'auth0|123'])
  t.equal(out, `${createHash('sha256').update(TEXT).digest('hex')}\n`)
  t.match(err, /SAFETY_IDENTIFIER_SECRET is not set/)
  t.equal(code, 0)
})

t.test('operate: --find names the one of many subjects whose identifier it is, or none', async (t) => {
  const identifier = createHmac('sha256', SECRET).update(TEXT).digest('hex')
  const find = (input: string, ...args: string[]) =>
    runCommand('identify', ['https://auth.test/', '--find', identifier, ...args], {
      SAFETY_IDENTIFIER_SECRET: SECRET
    }, input)
  t.match(await find('auth0|123\n', 'auth0|123'), { code: 2, out: '', err: /^usage: / })
  t.match(await find('auth0|124\n auth0|123\n'), { code: 1, out: '', err: /^none of these subjects/ })
  t.match(await find(''), { code: 1, out: '' })
  t.match(await find('auth0|124\r\nauth0|123\r\nauth0|125'), { code: 0, out: 'auth0|123\n', err: '' })
  t.match(await find('\ufeffauth0|123\r\n'), { code: 0, out: 'auth0|123\n', err: '' }, 'as spreadsheets write it')
})

t.test('operate: --find takes an identifier in capitals, and refuses what is none', async (t) => {
  const identifier = createHmac('sha256', SECRET).update(TEXT).digest('hex')
  const find = (wanted: string) => runCommand(
    'identify', ['https://auth.test/', '--find', wanted], { SAFETY_IDENTIFIER_SECRET: SECRET }, 'auth0|123\n'
  )
  t.match(await find(` ${identifier.toUpperCase()}\n`), { code: 0, out: 'auth0|123\n' })
  for (const wanted of ['', identifier.slice(1), `${identifier}0`, 'auth0|123']) {
    t.match(await find(wanted), { code: 2, out: '', err: /^usage: --find needs a safety identifier/ }, wanted)
  }
})
