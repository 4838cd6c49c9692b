#!/bin/sh
# Builds the wheel that carries the program, installs it into a fresh virtual environment, and runs the quickstart with
# it, in a copy of what it needs.
#
#   PROFILE          the Cargo profile (default: dev, which the tests have built already)
#   PYTHON           the interpreter that makes the environments (default: python3)
#   XDG_CACHE_HOME   where caches live (default: ~/.cache)
set -eu

repository="$(cd "$(dirname "$0")/../.." && pwd)"
cache="${XDG_CACHE_HOME:-$HOME/.cache}/datafusion-metaxy"
maturin="$cache/maturin"
if [ ! -x "$maturin/bin/maturin" ]; then
    rm -rf "$maturin"
    "${PYTHON:-python3}" -m venv "$maturin" >&2
    "$maturin/bin/python" -m pip install --quiet --disable-pip-version-check 'maturin>=1.9,<2' >&2
fi

work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
# Not for an index: tags of platforms would need an older system to build on.
"$maturin/bin/maturin" build --quiet --locked --profile "${PROFILE:-dev}" --compatibility linux \
    --manifest-path "$repository/Cargo.toml" --out "$work/wheels"
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-index "$work"/wheels/*.whl

mkdir "$work/project"
cp -R "$repository/metaxy.toml" "$repository/sql" "$repository/src" "$work/project/"
cd "$work/project"
PATH="$work/venv/bin:$PATH"
metaxy-cli --version
metaxy-cli -q --format csv -f sql/01_quickstart.sql >first.csv
metaxy-cli -q --format csv -f sql/01_quickstart.sql >second.csv
cat first.csv
# At first all files are new, the second time none is.
grep -q '^new,[1-9]' first.csv
if grep -q '^new,' second.csv; then
    echo "the second run of the quickstart finds new files:" >&2
    cat second.csv >&2
    exit 1
fi
