/** Measures the longest time that this process blocked its event loop; time in which others had the CPU is left out. */
export function watchLoop (): () => number {
  let [atMs, used, most] = [performance.now(), process.cpuUsage(), 0]
  const timer = setInterval(() => {
    const { user, system } = process.cpuUsage(used)
    most = Math.max(most, Math.min(performance.now() - atMs, (user + system) / 1000))
    atMs = performance.now()
    used = process.cpuUsage()
  }, 1)
  return () => {
    clearInterval(timer)
    return most
  }
}
