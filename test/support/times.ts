/** How often a law is tried: `usual` times in `npm test`, ten times as often by `npm run laws`. */
export function times (usual: number): number {
  return usual * Number(process.env.LAWS_TIMES ?? 1)
}
