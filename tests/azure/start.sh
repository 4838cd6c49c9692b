#!/bin/sh
# Prints the endpoint of an Azure server for tests, starting one on a free port of this machine when none is running.
# The server is Azurite, from npm, in the cache folder; it has the container `metaxy-test`, holds its objects in memory
# and ends after a while without requests. Everything but the endpoint goes to stderr.
#
#   METAXY_TEST_AZURE=$(tests/azure/start.sh) cargo test --features azure --test integration -- --ignored azure::
#
#   METAXY_TEST_AZURE   print this endpoint as it is, start nothing
#   METAXY_AZURE_IDLE   seconds without a request after which the server ends (default: 1800)
#   XDG_CACHE_HOME      where caches live (default: ~/.cache)
set -eu

if [ -n "${METAXY_TEST_AZURE:-}" ]; then
    echo "$METAXY_TEST_AZURE"
    exit 0
fi

here="$(cd "$(dirname "$0")" && pwd)"
cache="${XDG_CACHE_HOME:-$HOME/.cache}/datafusion-metaxy"
folder="$cache/azure"
# A copy of what is wanted, put there last: an interrupted or outdated installation doesn't look finished.
installed="$folder/installed.json"
mkdir -p "$cache"

if command -v flock >/dev/null 2>&1; then
    exec 9>"$cache/azure.lock"
    flock 9
fi

if ! command -v node >/dev/null 2>&1 || ! command -v npm >/dev/null 2>&1; then
    echo "installing nodejs and npm" >&2
    export DEBIAN_FRONTEND=noninteractive
    run=""
    [ "$(id -u)" = 0 ] || run="sudo"
    $run apt-get update -qq >&2
    $run apt-get install -y -qq --no-install-recommends nodejs npm >&2
fi

if ! cmp -s "$here/package.json" "$installed"; then
    echo "installing an Azure server in $folder" >&2
    rm -rf "$folder"
    mkdir -p "$folder"
    cp "$here/package.json" "$folder/package.json"
    # Without a lock file: one would name the registry that this machine happens to use.
    npm install --prefix "$folder" --no-audit --no-fund --no-package-lock --ignore-scripts --omit=dev --loglevel=error >&2
    cp "$here/package.json" "$installed"
fi

# The file says where the last server was; the server says whether it is the one that these tests want.
node "$here/server.js" running "$cache/azure.endpoint" && exit 0
# Without the lock's file, which would stay locked as long as the server runs.
nohup node "$here/server.js" serve "$folder" "$cache/azure.endpoint" "${METAXY_AZURE_IDLE:-1800}" \
    >"$cache/azure.log" 2>&1 9>&- &
exec node "$here/server.js" running "$cache/azure.endpoint" 60
