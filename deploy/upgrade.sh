#!/bin/sh
# Applies a changed .env, image or docker-compose.yml without losing a mint or a call: sh deploy/upgrade.sh [SECONDS]
# One replica after the other: nginx leaves it out, the other one takes its calls over, it is recreated, and once it is ready
# nginx uses it again. With SECONDS the script first waits that long for its calls to end: for more calls than the other one
# takes within DRAIN_SECONDS, about 300 a second. Run it in the folder of docker-compose.yml; after a failure run it again.
set -eu

patience=${1:-0}
calls_live='fetch("http://127.0.0.1:9090/metrics").then((answer) => answer.text()).then((text) => {
  const live = [...text.matchAll(/^ephemint_calls_live\{.*\} (\d+)$/gm)].map(([, count]) => Number(count))
  console.log(live.reduce((sum, count) => sum + count, 0))
})'
asks_ready='fetch("http://127.0.0.1:9090/readyz").then(({ ok }) => process.exit(ok ? 0 : 1), () => process.exit(1))'

gateway () {
  docker compose exec -T gateway "$@"
}

# A replica that does not answer holds no call.
calls_of () {
  docker compose exec -T "$1" node -e "$calls_live" 2> /dev/null || echo 0
}

wait_for_calls () {
  waited=0
  while live=$(calls_of "$1") && [ "$live" != 0 ]; do
    [ "$waited" -lt "$patience" ] || { echo "$1: the other replica goes on with $live calls"; return 0; }
    [ $((waited % 60)) -ne 0 ] || echo "$1: $live calls are still going on"
    sleep 1
    waited=$((waited + 1))
  done
}

is_ready () {
  docker compose exec -T "$1" node -e "$asks_ready" 2> /dev/null
}

wait_until_ready () {
  for _ in $(seq 60); do
    if is_ready "$1"; then return 0; fi
    sleep 1
  done
  echo "$1 is not ready after a minute: docker compose logs $1. The other one serves; nginx leaves this one out." >&2
  return 1
}

# Two runs at once would stop both replicas.
exec 9< "$0"
! command -v flock > /dev/null || flock -n 9 || { echo 'Another upgrade is running.' >&2; exit 1; }

REVISION=${REVISION:-$(git describe --always --dirty --abbrev=40 --exclude='*' 2> /dev/null || true)} docker compose build
# A replica that an earlier run left unready comes first, while the other one serves.
order='ephemint-1 ephemint-2'
is_ready ephemint-2 || order='ephemint-2 ephemint-1'
for replica in $order; do
  case $replica in ephemint-1) other=ephemint-2 ;; *) other=ephemint-1 ;; esac
  gateway rm -f "/tmp/$other.down"
  gateway touch "/tmp/$replica.down"
  wait_for_calls "$replica"
  address=$(gateway getent hosts "$replica" || true)
  docker compose up -d --no-deps --no-build --force-recreate "$replica"
  wait_until_ready "$replica"
  # nginx knows the address that the replica had when nginx started. Docker gives it the same one, with rare exceptions.
  [ "$(gateway getent hosts "$replica")" = "$address" ] || gateway sh /etc/nginx/nginx.sh -s reload
  gateway rm -f "/tmp/$replica.down"
  echo "$replica is replaced"
done
