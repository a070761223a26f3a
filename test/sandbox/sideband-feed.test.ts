// The events of a call's sideband that the page shows.

import t from 'tap'
import { startPlayground } from '../../src/sandbox/playground.ts'
import { createSidebandFeed, type SidebandEvent } from '../../src/sandbox/sideband-feed.ts'

const offer = (id: number | string) => `v=0\r\no=- ${id} 2 IN IP4 127.0.0.1\r\ns=-\r\n`

t.test('a follower gets what was kept of its own call, then what comes, until it stops', async (t) => {
  let at = 1000
  const feed = createSidebandFeed(() => at++)
  feed.put(offer(1), 'session.updated')
  feed.put(offer(2), 'error')
  const seen: SidebandEvent[] = []
  const stop = feed.follow('1', (event) => seen.push(event))
  feed.put(offer(1), 'response.created')
  feed.put(offer(2), 'response.created')
  stop()
  feed.put(offer(1), 'response.done')
  t.same(seen, [{ type: 'session.updated', at: 1000 }, { type: 'response.created', at: 1002 }])
})

t.test('what is kept is bounded, in calls and in events', async (t) => {
  const feed = createSidebandFeed()
  const keptOf = (id: number) => {
    const seen: string[] = []
    feed.follow(String(id), ({ type }) => seen.push(type))()
    return seen
  }
  for (let i = 0; i < 101; i++) feed.put(offer(1), `event ${i}`)
  t.equal(keptOf(1).length, 100)
  t.equal(keptOf(1).at(-1), 'event 100', 'the newest are kept')
  for (let id = 2; id <= 51; id++) feed.put(offer(id), 'session.updated')
  t.same(keptOf(1), [], 'the oldest call is forgotten')
  t.equal(keptOf(51).length, 1)
})

t.test('an offer without a session id is not kept', async (t) => {
  const feed = createSidebandFeed()
  for (const sdp of ['', 'v=0', offer('../1'), offer('')]) feed.put(sdp, 'session.updated')
  feed.follow('', () => t.fail('nothing is kept'))()
})

t.test('the page is sent it as an event stream, which ends with its connection', async (t) => {
  let following = 0
  const feed = createSidebandFeed(() => 1000)
  const stopped = Promise.withResolvers<void>()
  const counted = {
    ...feed,
    follow: (...args: Parameters<typeof feed.follow>) => {
      const stop = feed.follow(...args)
      following++
      return () => {
        stop()
        following--
        stopped.resolve()
      }
    }
  }
  const { origin, close } = await startPlayground({
    config: () => null, feed: counted, rules: { of: async () => null }
  })
  t.teardown(close)
  feed.put(offer(7), 'session.updated')

  const response = await fetch(`${origin}/sideband/7`)
  t.equal(response.headers.get('content-type'), 'text/event-stream')
  const body = (response.body as ReadableStream<Uint8Array>).pipeThrough(new TextDecoderStream()).getReader()
  let text = ''
  const events = () => text.split('\n\n').filter((block) => block.startsWith('data: ') && block.endsWith('}'))
  const read = async (count: number) => {
    while (events().length < count) text += (await body.read()).value
  }
  await read(1)
  feed.put(offer(7), 'response.created')
  await read(2)
  t.same(events(), ['data: {"type":"session.updated","at":1000}', 'data: {"type":"response.created","at":1000}'])

  await body.cancel()
  await stopped.promise
  t.equal(following, 0)
})
