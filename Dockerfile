# docker build -t ephemint .
# docker run --read-only --cap-drop ALL --security-opt no-new-privileges --ulimit core=0 --env-file .env \
#   -v ./ephemint.yaml:/app/ephemint.yaml:ro -p 8080:8080 --stop-timeout 30 ephemint
#
# Core dumps cannot be turned off from in here: --ulimit core=0 does it, or the same in compose and Kubernetes.

FROM node:24.21-trixie-slim AS dependencies
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
# No dependency of production needs an install script. The development dependency `node` stays behind: the image has its own.
RUN npm ci --omit=dev --ignore-scripts

FROM node:24.21-trixie-slim
# One arena of malloc's: those of V8's threads hold 15 MiB more while 5,000 mints are in flight.
ENV NODE_ENV=production NODE_COMPILE_CACHE=/app/.compiled MALLOC_ARENA_MAX=1
WORKDIR /app
COPY --from=dependencies /app/node_modules node_modules
COPY package.json LICENSE ./
COPY src src
RUN install --directory --owner=1000 .compiled
# The image's user `node`, by number: Kubernetes' runAsNonRoot asks for one.
USER 1000:1000
# Compiled once, here: without its environment it says what is missing, and ends. Every start is then a quarter faster, and holds 20 MiB less.
RUN node src/server.ts || true
EXPOSE 8080
# As long as the process answers; whether it is ready to mint is for the load balancer to ask at /readyz.
HEALTHCHECK --interval=10s --timeout=3s --start-period=15s --retries=3 \
  CMD ["node", "-e", "fetch('http://127.0.0.1:' + (process.env.PORT || 8080) + '/livez').then(({ ok }) => process.exit(ok ? 0 : 1), () => process.exit(1))"]
# No npm and no shell between: SIGTERM arrives. A young generation of 16 MiB costs no time, and holds a third less memory; an old
# one of 384 fits a container of 512 MiB, of which Node.js would otherwise take half, and is collected in time elsewhere too.
CMD ["node", "--max-semi-space-size=16", "--max-old-space-size=384", "src/server.ts"]
