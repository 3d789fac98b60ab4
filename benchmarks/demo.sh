#!/bin/sh
# The whole path on the built-in demo data, offline: prepare, infer, evaluate, compare.
# usage: demo.sh [COMMAND [HOME]]
set -eu
bench=${1:-llmrs-bench}
LLMRS_BENCH_HOME=${2:-bench}
export LLMRS_BENCH_HOME

data=$("$bench" prepare --dataset demo)
for model in random popularity sasrec; do
    "$bench" infer --model "$model" --dataset "$data"
done
for template in listwise likelihood; do
    "$bench" infer --model demo-lm --template "$template" --dataset "$data"
done
"$bench" evaluate --dataset "$data"
"$bench" compare --dataset "$data"
