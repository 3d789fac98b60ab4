#!/bin/sh
# All recommenders: on MovieLens-1M with the published candidate lists of LLMRank, ranking the whole catalogue of
# MovieLens-1M in its 5-core as Klenitskiy and Vasilev (RecSys 2023) do, and on MovieLens-100K with three seeds.
# usage: recommenders.sh ML-1M.zip ML-1M-LISTS.tsv.gz ML-100K [COMMAND [HOME]]
set -eu
archive=$1 lists=$2 small=$3 bench=${4:-llmrs-bench}
LLMRS_BENCH_HOME=${5:-bench}
export LLMRS_BENCH_HOME

"$bench" prepare --dataset ml1m@published --source "$archive" --users all --candidates "file:$lists" --include-seen
"$bench" prepare --dataset ml1m@5core --source "$archive" --users all --k-core 5 --candidates all
"$bench" prepare --dataset ml100k@all --source "$small" --users all
for model in popularity recent-popularity itemknn ease bprmf sasrec; do
    "$bench" infer --model "$model" --dataset ml1m@published
done
for model in popularity itemknn ease bprmf sasrec bert4rec; do
    "$bench" infer --model "$model" --dataset ml1m@5core
done
"$bench" infer --model sasrec -O loss=bce -O batch=128 --dataset ml1m@5core
for model in random popularity recent-popularity itemknn bm25 bprmf fpmc gru4rec sasrec bert4rec; do
    "$bench" infer --model "$model" --seeds 3 --dataset ml100k@all
done
for data in ml1m@published ml1m@5core ml100k@all; do
    "$bench" evaluate --dataset "$data"
    "$bench" compare --dataset "$data" --format markdown
done
