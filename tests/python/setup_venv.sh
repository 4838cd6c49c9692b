#!/bin/sh
# Prints the path of a Python interpreter that has the packages of requirements.txt, or of another such FILE, making a
# virtual environment for it in the cache folder when there is none yet. Everything but that path goes to stderr.
#
#   setup_venv.sh [FILE]
#
#   METAXY_TEST_PYTHON   without a FILE: use this interpreter as it is, make nothing
#   PYTHON               the interpreter that makes the environment (default: python3; 3.10 or newer)
#   XDG_CACHE_HOME       where caches live (default: ~/.cache)
set -eu

if [ $# -eq 0 ] && [ -n "${METAXY_TEST_PYTHON:-}" ]; then
    echo "$METAXY_TEST_PYTHON"
    exit 0
fi

requirements="${1:-$(cd "$(dirname "$0")" && pwd)/requirements.txt}"
cache="${XDG_CACHE_HOME:-$HOME/.cache}/datafusion-metaxy"
# An environment for each file, so that they can't take packages from each other.
venv="$cache/venv${1:+-$(basename "$1" .txt)}"
# A copy of the requirements, put there last: an interrupted or outdated installation doesn't look finished.
installed="$venv/installed.txt"
mkdir -p "$cache"

# Tests and benchmark may start together; where flock is missing, they'd better not.
if command -v flock >/dev/null 2>&1; then
    exec 9>"$venv.lock"
    flock 9
fi

if ! cmp -s "$requirements" "$installed"; then
    echo "installing what $requirements lists in $venv" >&2
    rm -rf "$venv"
    "${PYTHON:-python3}" -m venv "$venv" >&2
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check -r "$requirements" >&2
    cp "$requirements" "$installed"
fi
echo "$venv/bin/python"
