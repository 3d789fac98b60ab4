#!/bin/sh
# Rows of Tables 9 to 13 and Figure 3 of arXiv 2401.04997 for a language model, on a prepared data set.
# usage: paper_tables.sh MODEL DATASET [COMMAND [INFER OPTION...]]
#   paper_tables.sh demo-lm ml100k@small llmrs-bench -O answer_tokens=100
# Table 12 prepares lists of retrievers of its own: data sets DATASET-NAME beside DATASET, from the same options but
# the candidates, which PREPARE_OPTIONS repeats (default: --users 200). With CLICKS=DATASET, one of clicks, the rows of
# Tables 5, 6, 7 and 14 and Figure 7 follow, which tune the model: see paper_tuning.sh.
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

# Table 9: what is told of the user; the personalised interest in an item is a note that the model wrote about it
notes=$(infer --template notes --history 50)
noted="--item-notes $notes"
row "Table 9" "recent items" --template paper
row "Table 9" "personalised interest of recent items" --template paper -T interest=notes $noted
row "Table 9" "recent items with personalised interest" --template paper -T interest=recent-noted $noted
row "Table 9" "relevant items, query recent" --template paper -T interest=relevant -T relevant=10 -T query=recent
row "Table 9" "recent and relevant items" --template paper -T interest=recent-relevant -T relevant=10 -T query=recent
row "Table 9" "personalised interest, query recent" \
    --template paper -T interest=relevant-noted -T relevant=10 -T query=recent $noted
short=$(infer --template interest)
long=$(infer --template interest -T task=describe-long -T interest=recent-relevant -T relevant=20 -T query=recent)
row "Table 9" "personalised interest, query profile and recent" \
    --template paper -T interest=relevant-noted -T relevant=10 -T query=interest --user-profile "$long" $noted
row "Table 9" "recent items, written short-term interest" --template paper -T interest=recent-written --user-profile "$short"
row "Table 9" "recent items, written long-term interest" --template paper -T interest=recent-written --user-profile "$long"
summary=$(infer --template interest -T interest=relevant-noted -T relevant=10 -T query=recent $noted)
row "Table 9" "summary of retrieved personalised interest" --template paper -T interest=written --user-profile "$summary"

# Table 10: what is searched for, and what is told of the items found: the catalogue's words, or the model's notes
row "Table 10" "short query, global memory" --template paper -T interest=recent-relevant -T relevant=10 -T query=recent
row "Table 10" "long and short query, global memory" \
    --template paper -T interest=recent-relevant -T relevant=10 -T query=interest --user-profile "$long"
row "Table 10" "short query, personalised memory" \
    --template paper -T interest=relevant-noted -T relevant=10 -T query=recent $noted
row "Table 10" "long and short query, personalised memory" \
    --template paper -T interest=relevant-noted -T relevant=10 -T query=interest --user-profile "$long" $noted

# Table 11: how candidates are named
row "Table 11" "ids" --template paper -T candidates=ids -T answer=ids
row "Table 11" "titles" --template paper -T candidates=titles -T answer=titles
row "Table 11" "numbers" --template paper -T answer=numbers
row "Table 11" "letters, probabilities" --template label
row "Table 11" "titles, probabilities" --template likelihood

# Table 12: the model orders the lists of a retriever, which may lack the target
for retriever in popularity bprmf sasrec; do
    lists="${data%%@*}@top-$retriever"
    "$bench" prepare --dataset "$lists" --candidates "model:$retriever" ${PREPARE_OPTIONS:---users 200} >&2
    for ranker in "$retriever" "$model"; do
        echo "Table 12: $retriever, ordered by $ranker" >&2
        options=""
        [ "$ranker" = "$model" ] && options="--template paper $extra"
        run=$("$bench" infer --model "$ranker" --dataset "$lists" $options)
        printf '%s\t%s\t%s\n' "Table 12" "$retriever, ordered by $ranker" "$run"
    done
    "$bench" evaluate --dataset "$lists" >/dev/null
    "$bench" compare --dataset "$lists"
done

# Table 13: strategies
row "Table 13" "original" --template paper
row "Table 13" "without recency" --template paper -T strategy=step-by-step
row "Table 13" "role" --template paper -T role=recommender
row "Table 13" "without step by step" --template paper -T strategy=recency
row "Table 13" "least to most" --template paper -T interest=recent-written --user-profile "$short"
row "Table 13" "examples of the user" --template paper -T shots=1
row "Table 13" "examples of similar users" --template paper -T shots=1 -T shots_from=similar
row "Table 13" "self-prompting" --template paper -T strategy=self-prompting
row "Table 13" "three orders" --template paper --candidate-orders 3

# Figure 3, and what the history is worth
for length in 1 5 10 20 30 40 50; do
    row "Figure 3" "history $length" --template paper --history "$length"
done
row "history" "none" --template paper -T past=none -T strategy=step-by-step
row "history" "shuffled" --template paper -T past=shuffled
row "history" "of another user" --template paper -T past=other

"$bench" evaluate --dataset "$data" >/dev/null
"$bench" compare --dataset "$data"

[ -z "${CLICKS:-}" ] || sh "$(dirname "$0")/paper_tuning.sh" "$model" "$CLICKS" "$bench"
