import { Socket } from 'node:net'
import t from 'tap'
import { findRtsp } from '../../src/http/rtsp.ts'

const ask = (line: string) => `${line}\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}`

function isFound (...packets: string[]): boolean {
  const isRtsp = findRtsp()
  const socket = new Socket()
  return packets.map((packet) => isRtsp(Buffer.from(packet), socket)).includes(true)
}

t.test('edge L10: a first line of RTSP is found wherever the packets cut it', async (t) => {
  for (const version of ['RTSP/1.0', 'RTSP/1.1']) {
    const bytes = ask(`POST / ${version}`)
    for (let i = 0; i < bytes.length; i++) t.ok(isFound(bytes.slice(0, i), bytes.slice(i)), `${version}, cut at ${i}`)
    t.ok(isFound(...bytes), 'byte by byte')
    t.ok(isFound(ask('GET / HTTP/1.1') + bytes), 'behind another request')
  }
})

t.test('edge L10: what only mentions RTSP is not taken for it', async (t) => {
  const body = JSON.stringify({ instructions: 'Explain RTSP/1.0\r\nand RTSP/1.1' })
  for (const bytes of [ask('POST /RTSP/1.0 HTTP/1.1'), ask('POST / HTTP/1.1') + body, 'RTSP/1.0']) {
    t.notOk(isFound(bytes), bytes)
    t.notOk(isFound(...bytes), bytes)
  }
})
