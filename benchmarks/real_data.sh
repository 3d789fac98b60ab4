#!/bin/sh
# The whole path on MovieLens-1M with the published candidate lists of LLMRank, and on MovieLens-100K.
# usage: real_data.sh ML-1M.zip ML-1M-LISTS.tsv.gz ML-100K [COMMAND [HOME]]
set -eu
archive=$1 lists=$2 small=$3 bench=${4:-llmrs-bench}
LLMRS_BENCH_HOME=${5:-bench}
export LLMRS_BENCH_HOME

"$bench" prepare --dataset ml1m@published --source "$archive" --users all --candidates "file:$lists" --include-seen
"$bench" prepare --dataset ml100k@all --source "$small" --users all
for data in ml1m@published ml100k@all; do
    for model in random popularity recent-popularity itemknn sasrec; do
        "$bench" infer --model "$model" --dataset "$data"
    done
    "$bench" infer --model demo-lm --template likelihood --dataset "$data"
    "$bench" infer --model demo-lm --template listwise -T answer=titles --dataset "$data"
    "$bench" evaluate --dataset "$data"
    "$bench" evaluate --dataset "$data" --normalize token
    "$bench" compare --dataset "$data" --metrics ndcg@1,ndcg@5,ndcg@10,ndcg@20
    "$bench" compare --dataset "$data" --format markdown
done
