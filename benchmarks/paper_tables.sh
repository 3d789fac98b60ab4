#!/bin/sh
# Rows of Tables 9 to 13 and Figure 3 of arXiv 2401.04997 for a language model, on a prepared data set.
# usage: paper_tables.sh MODEL DATASET [COMMAND [INFER OPTION...]]
#   paper_tables.sh demo-lm ml100k@small llmrs-bench -O answer_tokens=100
# Not here: retrieval of described interests (Tables 9 and 10 describe items by a model first).
set -eu
model=$1 data=$2
bench=${3:-llmrs-bench}
[ $# -lt 3 ] && shift 2 || shift 3

row() { # table, row, then the options of the prompt
    table=$1 name=$2
    shift 2
    echo "$table: $name" >&2
    run=$(infer "$@")
    printf '%s\t%s\t%s\n' "$table" "$name" "$run"
}
infer() {
    "$bench" infer --model "$model" --dataset "$data" "$@" $extra
}
extra="$*"

# Table 9: what is told of the user
row "Table 9" "recent items" --template paper
row "Table 9" "relevant items, query recent" --template paper -T interest=relevant -T relevant=10 -T query=recent
row "Table 9" "recent and relevant items" --template paper -T interest=recent-relevant -T relevant=10 -T query=recent
short=$(infer --template interest)
row "Table 9" "recent items, written short-term interest" --template paper -T interest=recent-written --with interest="$short"
long=$(infer --template interest -T task=describe-long -T interest=recent-relevant -T relevant=20 -T query=recent)
row "Table 9" "recent items, written long-term interest" --template paper -T interest=recent-written --with interest="$long"
row "Table 9" "written interest alone" --template paper -T interest=written --with interest="$long"

# Table 10: what is searched for
row "Table 10" "query candidates" --template paper -T interest=recent-relevant -T relevant=10
row "Table 10" "query recent" --template paper -T interest=recent-relevant -T relevant=10 -T query=recent

# Table 11: how candidates are named
row "Table 11" "ids" --template paper -T candidates=ids -T answer=ids
row "Table 11" "titles" --template paper -T candidates=titles -T answer=titles
row "Table 11" "numbers" --template paper -T answer=numbers
row "Table 11" "letters, probabilities" --template label
row "Table 11" "titles, probabilities" --template likelihood

# Table 12 is this script's first row on lists of a retriever: prepare --candidates model:popularity, model:bprmf, model:sasrec

# Table 13: strategies
row "Table 13" "original" --template paper
row "Table 13" "without recency" --template paper -T strategy=step-by-step
row "Table 13" "role" --template paper -T role=recommender
row "Table 13" "without step by step" --template paper -T strategy=recency
row "Table 13" "least to most" --template paper -T interest=recent-written --with interest="$short"
row "Table 13" "examples of the user" --template paper -T shots=1
row "Table 13" "examples of similar users" --template paper -T shots=1 -T shots_from=similar
row "Table 13" "self-prompting" --template paper -T strategy=self-prompting
row "Table 13" "three orders" --template paper --orders 3

# Figure 3, and what the history is worth
for length in 1 5 10 20 30 40 50; do
    row "Figure 3" "history $length" --template paper --history "$length"
done
row "history" "none" --template paper -T past=none -T strategy=step-by-step
row "history" "shuffled" --template paper -T past=shuffled
row "history" "of another user" --template paper -T past=other

"$bench" evaluate --dataset "$data" >/dev/null
"$bench" compare --dataset "$data"
