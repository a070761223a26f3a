// Preloaded into every measured process: reports its CPU time and memory on request, and ends it with the benchmark.

process.on('message', (message) => {
  if (message !== 'account') return
  const { user, system } = process.cpuUsage()
  process.send?.({ cpuMicros: user + system, rssBytes: process.memoryUsage.rss() })
})
process.once('disconnect', () => process.exit())
