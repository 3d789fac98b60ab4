#!/bin/sh
# Build wheel and sdist into dist/, install the wheel into an empty environment, and run the demo there.
# usage: dist.sh PYTHON VENV; PYTHON has the packages of requirements/plain.txt, VENV is made anew
set -eu
python=$1 venv=$2
rm -rf dist
"$python" -m hatchling build -d dist
"$python" -m venv --clear "$venv"
"$venv/bin/python" -m pip install --quiet -c requirements/plain.txt dist/*.whl
demo=$(mktemp -d)
trap 'rm -rf "$demo"' EXIT
"$venv/bin/llmrs-bench" --version
"$venv/bin/llmrs-bench" list recipes
sh benchmarks/demo.sh "$venv/bin/llmrs-bench" "$demo"
