#!/bin/sh
# Rows of Tables 5, 6, 7 and 14 and Figure 7 of arXiv 2401.04997 for a language model, on a data set of clicks.
# usage: paper_tuning.sh MODEL DATASET [COMMAND [TUNE OPTION...]]
#   llmrs-bench prepare --dataset ml1m@clicks --task click --protocol paper-ctr
#   INSTRUCT=smollm2-135m-instruct paper_tuning.sh smollm2-135m ml1m@clicks
# INSTRUCT is the same model after instruction tuning, for Table 5. The lists below can be shortened. The paper states
# neither the rank of Table 7 nor the dropout of Table 6: they are the defaults of `tune`.
set -eu
model=$1 data=$2
bench=${3:-llmrs-bench}
[ $# -lt 3 ] && shift 2 || shift 3
extra="$*"
samples=${SAMPLES:-256}
ranks=${RANKS-4 8 16 32 64}
dropouts=${DROPOUTS-0 0.1 0.2 0.3 0.4 0.5}
curve=${CURVE-0 8 16 32 64 128 256}

row() { # table, row, model, then the parts of the prompt
    table=$1 name=$2 asked=$3
    shift 3
    run=$("$bench" infer --model "$asked" --dataset "$data" --template like "$@")
    printf '%s\t%s\t%s\n' "$table" "$name" "$run"
}
tuned() { # table, row, base, samples, then the options of tuning and the parts of the prompt
    table=$1 name=$2 base=$3 number=$4 options=$5
    shift 5
    echo "$table: $name" >&2
    made=$("$bench" tune --model "$base" --dataset "$data" --template like --samples "$number" $options "$@" $extra)
    row "$table" "$name" "$made" "$@"
}

# Table 5: a base and its instruction-tuned twin, as they are and tuned
for base in "$model" ${INSTRUCT:-}; do
    row "Table 5" "$base, zero-shot" "$base"
    tuned "Table 5" "$base, LoRA" "$base" "$samples" ""
    tuned "Table 5" "$base, all weights" "$base" "$samples" "--method full"
done

# Tables 6 and 7: rank and dropout of LoRA
for rank in $ranks; do
    tuned "Table 6" "rank $rank" "$model" "$samples" "-O rank=$rank"
done
for dropout in $dropouts; do
    tuned "Table 7" "dropout $dropout" "$model" "$samples" "-O dropout=$dropout"
done

# Table 14: what is told of the user
tuned "Table 14" "liked and disliked items" "$model" "$samples" ""
tuned "Table 14" "ratings" "$model" "$samples" "" -T interest=rated
tuned "Table 14" "both" "$model" "$samples" "" -T interest=likes-rated
tuned "Table 14" "chain of thought" "$model" "$samples" "" -T strategy=step-by-step

# Figure 7: samples to learn from
for number in $curve; do
    tuned "Figure 7" "$number samples" "$model" "$number" ""
done

"$bench" evaluate --dataset "$data" >/dev/null
"$bench" compare --dataset "$data" --published
