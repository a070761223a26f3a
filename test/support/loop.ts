/** For how long the loop is held up by its own work at most: while others have the processor, it does none. */
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
