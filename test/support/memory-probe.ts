// Preloaded into a process (`--import`, with --expose-gc): reports its memory by IPC. Asked for `memory`, it first runs
// a garbage collection that also frees the pages V8 keeps in reserve (up to 90 MB after a busy minute); asked for
// `resident`, it does not.

const probe = async (asked: unknown) => {
  // The second collection frees objects that the first one finalized.
  const collections = asked === 'memory' ? 4 : 0
  for (let i = 0; i < collections; i++) {
    globalThis.gc?.({ type: 'major', execution: 'sync', flavor: 'last-resort' })
    await new Promise((resolve) => setImmediate(resolve))
  }
  const { heapUsed, external, rss } = process.memoryUsage()
  process.send?.({ heapUsed, external, rss })
}
process.on('message', probe)
process.channel?.unref()
