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
lock_group() {
  output=requirements-$1.txt
  "$venv/bin/uv" pip compile --quiet --universal --python-version "${python:-3.10}" --generate-hashes \
    --no-emit-index-url --no-annotate --custom-compile-command 'make lock' \
    --group "$@" --output-file "$output"
}

lock_group pull
for engine in vllm sglang; do
  python=3.11 lock_group "$engine" --only-binary :all:
done
for group in engine openmp smollm2 supervisor; do
  # Their own dependencies stay out: the host needs the wheel and nothing else.
  lock_group "$group" --no-deps
done
