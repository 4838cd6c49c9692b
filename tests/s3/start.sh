#!/bin/sh
# Prints the endpoint of an S3 server for tests, starting one on a free port of this machine when none is running.
# The server is moto's, from PyPI, in a virtual environment of its own in the cache folder; it holds its objects in
# memory and ends after a while without requests. Everything but the endpoint goes to stderr.
#
#   METAXY_TEST_S3=$(tests/s3/start.sh) cargo test --test integration s3
#
#   METAXY_TEST_S3   print this endpoint as it is, start nothing
#   METAXY_S3_IDLE   seconds without a request after which the server ends (default: 1800)
#   PYTHON           the interpreter that makes the environment (default: python3; 3.10 or newer)
#   XDG_CACHE_HOME   where caches live (default: ~/.cache)
set -eu

if [ -n "${METAXY_TEST_S3:-}" ]; then
    echo "$METAXY_TEST_S3"
    exit 0
fi

here="$(cd "$(dirname "$0")" && pwd)"
cache="${XDG_CACHE_HOME:-$HOME/.cache}/datafusion-metaxy"
venv="$cache/s3"
# A copy of the requirements, put there last: an interrupted or outdated installation doesn't look finished.
installed="$venv/installed.txt"
mkdir -p "$cache"

if command -v flock >/dev/null 2>&1; then
    exec 9>"$cache/s3.lock"
    flock 9
fi

if ! cmp -s "$here/requirements.txt" "$installed"; then
    echo "installing an S3 server in $venv" >&2
    rm -rf "$venv"
    "${PYTHON:-python3}" -m venv "$venv" >&2
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check -r "$here/requirements.txt" >&2
    cp "$here/requirements.txt" "$installed"
fi

# The file says where the last server was; the server says whether it is the one that these tests want.
"$venv/bin/python" "$here/server.py" --running "$cache/s3.endpoint" && exit 0
# Without the lock's file, which would stay locked as long as the server runs.
nohup "$venv/bin/python" "$here/server.py" --idle "${METAXY_S3_IDLE:-1800}" --endpoint "$cache/s3.endpoint" \
    >"$cache/s3.log" 2>&1 9>&- &
exec "$venv/bin/python" "$here/server.py" --running "$cache/s3.endpoint" --wait 60
