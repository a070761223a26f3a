# docker build -t ephemint .
# docker run --read-only --cap-drop ALL --security-opt no-new-privileges --ulimit core=0 --env-file .env \
#   -v ./policy:/etc/ephemint:ro -e EPHEMINT_CONFIG=/etc/ephemint/ephemint.yaml -p 8080:8080 --stop-timeout 30 ephemint
#
# The folder is mounted: of a single file a container keeps the old one when an editor replaces it.
# An image cannot turn off core dumps: use --ulimit core=0, or its equivalent in compose and Kubernetes.

FROM node:24.21-trixie-slim AS dependencies
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
# No production dependency needs an install script. The development dependency `node` is omitted: the image has its own.
# Declarations and source maps, a third of it, are not used at run time.
RUN npm ci --omit=dev --ignore-scripts && \
  find node_modules -type f \( -name '*.map' -o -name '*.d.ts' -o -name '*.d.mts' -o -name '*.d.cts' \) -delete
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends tini

FROM node:24.21-trixie-slim
# A single malloc arena: one per V8 thread would take 15 MiB more with 5,000 mints in flight.
ENV NODE_ENV=production NODE_COMPILE_CACHE=/app/.compiled MALLOC_ARENA_MAX=1
WORKDIR /app
COPY --from=dependencies /usr/bin/tini /usr/bin/tini
COPY --from=dependencies /app/node_modules node_modules
COPY package.json LICENSE ./
COPY src src
# A volume mounted at /var/lib/ephemint, for AUDIT_FILE, gets this owner.
RUN install --directory --owner=1000 .compiled /var/lib/ephemint
# The image's user `node`, by number because Kubernetes' runAsNonRoot needs one.
USER 1000:1000
# Fills the compile cache; without its environment the server reports what is missing and exits. With the cache a start is a
# quarter faster and takes 20 MiB less.
RUN node src/server.ts || test -n "$(ls .compiled)"
EXPOSE 8080
# Liveness only. Load balancers check /readyz, which reports whether it can mint. Images in OCI's format (podman build, BuildKit
# with oci-mediatypes) have no health check: state it where the container is started.
HEALTHCHECK --interval=10s --timeout=3s --start-period=15s --retries=3 \
  CMD ["node", "-e", "fetch('http://127.0.0.1:' + (process.env.PORT || 8080) + '/livez').then(({ ok }) => process.exit(ok ? 0 : 1), () => process.exit(1))"]
# docker build --build-arg REVISION=$(git rev-parse HEAD): shown by /version, the metrics and the start's log line. Here at the
# end, because nothing before it changes with the revision alone.
ARG REVISION=
LABEL org.opencontainers.image.revision=$REVISION
ENV EPHEMINT_REVISION=$REVISION
# Process 1 ignores a signal that it has no handler for, and Node.js takes a tenth of a second until it runs our first line. With -s tini
# does not warn where it is not process 1 (docker run --init).
ENTRYPOINT ["/usr/bin/tini", "-s", "--"]
# No npm or shell in between: it would not pass SIGTERM on. A young generation of 16 MiB is as fast and takes a third
# less memory. An old generation of 384 MiB fits a container of 512 MiB, of which Node.js would use only half by default.
CMD ["node", "--max-semi-space-size=16", "--max-old-space-size=384", "src/server.ts"]
