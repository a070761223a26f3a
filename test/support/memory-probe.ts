// Preloaded into a process (`--import`, with --expose-gc): reports its memory over IPC after a garbage collection.

const probe = async () => {
  // The second collection frees objects that the first one finalized.
  for (let i = 0; i < 4; i++) {
    globalThis.gc?.()
    await new Promise((resolve) => setImmediate(resolve))
  }
  const { heapUsed, external, rss } = process.memoryUsage()
  process.send?.({ heapUsed, external, rss })
}
process.on('message', probe)
process.channel?.unref()
