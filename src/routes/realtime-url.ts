// Clients that derive the address of a session from our base URL come here, where no session is served.

import type { FastifyInstance } from 'fastify'

const SESSIONS = /^\/v1(\/realtime(?:\/translations)?)\/?(?:\?|$)/

/** The 404 of such an address names where to connect instead: by WebSocket, as these clients do. */
export function registerRealtimeUrl (app: FastifyInstance, realtimePublicUrl: string): void {
  const base = realtimePublicUrl.replace(/^http/, 'ws')
  app.addHook('onRequest', ({ is404, url }, reply, done) => {
    const [, path] = is404 ? SESSIONS.exec(url) ?? [] : []
    if (path !== undefined) reply.header('x-realtime-url', base + path)
    done()
  })
}
