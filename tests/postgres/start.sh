#!/bin/sh
# Prints the URL of an empty database on a PostgreSQL server of its own, which it starts when it doesn't run yet: a
# cluster in the cache folder, reached on the loopback. Everything but that URL goes to stderr.
#
#   METAXY_TEST_POSTGRES   use this database as it is, start nothing
#   METAXY_POSTGRES_PORT   the server's port (default: 54329)
#   METAXY_POSTGRES_NAME   of the cluster's folder, for a server beside others (default: postgres)
#   XDG_CACHE_HOME         where caches live (default: ~/.cache)
#
# `start.sh stop` stops the server, `start.sh restart` ends it as a crash does and starts it again, with its data.
set -eu

if [ -n "${METAXY_TEST_POSTGRES:-}" ]; then
    echo "$METAXY_TEST_POSTGRES"
    exit 0
fi

port="${METAXY_POSTGRES_PORT:-54329}"
cache="${XDG_CACHE_HOME:-$HOME/.cache}/datafusion-metaxy"
name="${METAXY_POSTGRES_NAME:-postgres}"
folder="$cache/$name"

# Debian keeps the server's programs out of the path.
find_server() {
    for bin in /usr/lib/postgresql/*/bin "$(dirname "$(command -v initdb 2>/dev/null || echo /nowhere/initdb)")"; do
        if [ -x "$bin/initdb" ] && [ -x "$bin/pg_ctl" ]; then
            echo "$bin"
            return
        fi
    done
}

bin="$(find_server)"
if [ -z "$bin" ]; then
    echo "installing postgresql" >&2
    export DEBIAN_FRONTEND=noninteractive
    run=""
    [ "$(id -u)" = 0 ] || run="sudo"
    $run apt-get update -qq >&2
    $run apt-get install -y -qq --no-install-recommends postgresql >&2
    bin="$(find_server)"
fi

# The server refuses to run as root. Its account must reach the folder, which in root's home it can't.
user="$(id -un)"
as() { "$@"; }
if [ "$(id -u)" = 0 ]; then
    user=postgres
    folder="/var/tmp/datafusion-metaxy-$name"
    as() { runuser -u postgres -- "$@"; }
fi

if [ "${1:-}" = stop ]; then
    as "$bin/pg_ctl" -D "$folder/data" -m fast stop >&2 || true
    exit 0
fi
if [ "${1:-}" = restart ]; then
    (cd "$folder" && as "$bin/pg_ctl" -D "$folder/data" -w -m immediate -l "$folder/log" restart >&2)
    exit 0
fi

mkdir -p "$cache"
if command -v flock >/dev/null 2>&1; then
    exec 9>"$cache/$name.lock"
    flock 9
fi

# Put there last: an interrupted initdb doesn't look finished.
if [ ! -f "$folder/ready" ]; then
    echo "making a PostgreSQL cluster in $folder" >&2
    rm -rf "$folder"
    mkdir -p "$folder"
    [ "$(id -u)" != 0 ] || chown postgres "$folder"
    (cd "$folder" && as "$bin/initdb" -D "$folder/data" -U metaxy -A trust -E UTF8 --locale=C.UTF-8 --no-sync >&2)
    # One account that has to say its password, for the test of a wrong one.
    (cd "$folder" && as sh -c 'echo "host all locked 127.0.0.1/32 scram-sha-256" | cat - "$1" >"$1.new" && mv "$1.new" "$1"' \
        sh "$folder/data/pg_hba.conf")
    as touch "$folder/ready"
fi

if ! as "$bin/pg_ctl" -D "$folder/data" status >/dev/null 2>&1; then
    (cd "$folder" && as "$bin/pg_ctl" -D "$folder/data" -w -l "$folder/log" -o "-p $port -k $folder \
        -c listen_addresses=127.0.0.1 -c fsync=off -c max_connections=200 -c shared_buffers=64MB" start >&2 9>&-)
fi

psql() { "$bin/psql" -h 127.0.0.1 -p "$port" -U metaxy -d postgres -q -v ON_ERROR_STOP=1 "$@" >&2; }
psql -c "SET client_min_messages = warning" -c "DROP DATABASE IF EXISTS metaxy WITH (FORCE)" -c "CREATE DATABASE metaxy" \
    -c "DROP ROLE IF EXISTS locked" -c "CREATE ROLE locked LOGIN PASSWORD 'right'"
echo "postgresql://metaxy@127.0.0.1:$port/metaxy"
