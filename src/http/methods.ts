// The methods that an address answers, for 405 and its `Allow`. Fastify's router can be asked for one method
// at a time only, and by the pattern of a route, not by a URL.

import type { FastifyInstance } from 'fastify'

/** Collects the routes that are registered from now on. The returned function takes the URL of a request. */
export function collectMethods (app: FastifyInstance): (url: string) => string[] {
  const routes: { path: RegExp, methods: readonly string[] }[] = []
  app.addHook('onRoute', ({ method, url }) => { routes.push({ path: patternOf(url), methods: [method].flat() }) })
  return (url) => {
    // Decoded as the router does it. It has refused before what cannot be decoded.
    const path = decodeURI(url.split(/[?#]/, 1)[0] as string)
    return [...new Set(routes.filter((route) => route.path.test(path)).flatMap(({ methods }) => methods))]
  }
}

/** A parameter is one segment that is not empty. The wildcard of CORS preflights is no address of its own. */
function patternOf (url: string): RegExp {
  return new RegExp(`^${url.split(/:\w+/).map((literal) => RegExp.escape(literal)).join('[^/]+')}$`)
}
