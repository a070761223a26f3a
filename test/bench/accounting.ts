// Preloaded into every process that is measured: says, when asked, what the process itself knows of its cost.

process.on('message', (message) => {
  if (message !== 'account') return
  const { user, system } = process.cpuUsage()
  process.send?.({ cpuMicros: user + system, rssBytes: process.memoryUsage.rss() })
})
