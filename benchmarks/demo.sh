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
# demo-lm is trained to answer these two prompts and no others: the title of the best candidate, and the next title.
"$bench" infer --model demo-lm --template listwise -T answer=titles --dataset "$data"
"$bench" infer --model demo-lm --template likelihood --dataset "$data"
"$bench" evaluate --dataset "$data"
"$bench" compare --dataset "$data"
