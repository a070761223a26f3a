// Loaded into a process before its own code (`--import`, with --expose-gc): says over IPC what it holds, asked for its `memory` once it has
// tidied up, for what is `resident` as it is.

const probe = async (asked: unknown) => {
  // What a first collection finalizes, a second one frees.
  const collections = asked === 'memory' ? 4 : 0
  for (let i = 0; i < collections; i++) {
    globalThis.gc?.()
    await new Promise((resolve) => setImmediate(resolve))
  }
  const { heapUsed, external, rss } = process.memoryUsage()
  process.send?.({ heapUsed, external, rss })
}
process.on('message', probe)
process.channel?.unref()
