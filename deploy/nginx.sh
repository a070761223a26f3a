#!/bin/sh
# nginx with the configuration beside this script, and with the origins of CORS_ORIGINS for what nginx answers itself.
# docker-compose.yml starts it. `sh nginx.sh -s reload` resolves the replicas' names again; a request that a client sends at
# that moment on a connection that it had kept may be lost.
set -eu

config=$(dirname "$0")/nginx.conf
prefix=${TMPDIR:-/tmp}

# One regular expression for each origin, because those match in the exact case. The replicas refuse what is no origin.
origins () {
  printf '%s\n' "${CORS_ORIGINS:-}" | tr ',' '\n' | sed -n \
    -e 's/^ *//' -e 's/ *$//' -e '/^[][A-Za-z0-9.:/*_~+-]\{1,\}$/!d' \
    -e 's/[].+[]/\\&/g' -e 's/\*/[a-z0-9-]+/' -e 's/.*/"~^&$" $http_origin;/p'
}

# Both are replaced in one step: a reload never reads half a file.
cp "$config" "$prefix/nginx.conf.new"
origins > "$prefix/origins.conf.new"
mv "$prefix/nginx.conf.new" "$prefix/nginx.conf"
mv "$prefix/origins.conf.new" "$prefix/origins.conf"

exec nginx -e stderr -p "$prefix/" -c "$prefix/nginx.conf" "$@"
