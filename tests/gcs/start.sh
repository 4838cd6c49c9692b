#!/bin/sh
# Prints the address of a Google Cloud Storage server for tests, starting one on a free port of this machine when none
# is running. The server is fake-gcs-server, which a package of PyPI brings as a program, behind one of ours that speaks
# the rest of the XML protocol; it has the bucket `metaxy-test`, holds its objects in memory and ends after a while
# without requests. Everything but the address goes to stderr.
#
#   METAXY_TEST_GCS=$(tests/gcs/start.sh) cargo test --features gcs --test integration -- --ignored gcs::
#
#   METAXY_TEST_GCS   print this address as it is, start nothing
#   METAXY_GCS_IDLE   seconds without a request after which the server ends (default: 1800)
#   PYTHON            the interpreter that makes the environment (default: python3; 3.10 or newer)
#   XDG_CACHE_HOME    where caches live (default: ~/.cache)
set -eu

if [ -n "${METAXY_TEST_GCS:-}" ]; then
    echo "$METAXY_TEST_GCS"
    exit 0
fi

here="$(cd "$(dirname "$0")" && pwd)"
cache="${XDG_CACHE_HOME:-$HOME/.cache}/datafusion-metaxy"
venv="$cache/gcs"
# A copy of the requirements, put there last: an interrupted or outdated installation doesn't look finished.
installed="$venv/installed.txt"
mkdir -p "$cache"

if command -v flock >/dev/null 2>&1; then
    exec 9>"$cache/gcs.lock"
    flock 9
fi

if ! cmp -s "$here/requirements.txt" "$installed"; then
    echo "installing a Google Cloud Storage server in $venv" >&2
    rm -rf "$venv"
    "${PYTHON:-python3}" -m venv "$venv" >&2
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check -r "$here/requirements.txt" >&2
    cp "$here/requirements.txt" "$installed"
fi

# The file says where the last server was; the server says whether it is the one that these tests want.
"$venv/bin/python" "$here/server.py" --running "$cache/gcs.endpoint" && exit 0
# Without the lock's file, which would stay locked as long as the server runs.
nohup "$venv/bin/python" "$here/server.py" --idle "${METAXY_GCS_IDLE:-1800}" --endpoint "$cache/gcs.endpoint" \
    >"$cache/gcs.log" 2>&1 9>&- &
exec "$venv/bin/python" "$here/server.py" --running "$cache/gcs.endpoint" --wait 60
