// Loaded into a process before its own code (`--import`, with --expose-gc): says over IPC what it holds once it has tidied up.

const probe = async () => {
  // What a first collection finalizes, a second one frees.
  for (let i = 0; i < 4; i++) {
    globalThis.gc?.()
    await new Promise((resolve) => setImmediate(resolve))
  }
  const { heapUsed, external, rss } = process.memoryUsage()
  process.send?.({ heapUsed, external, rss })
}
process.on('message', probe)
process.channel?.unref()
