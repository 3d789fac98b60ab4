#!/bin/sh
# Tuning on a GPU, unattended: seconds, memory and energy of each method alone, then what tuned models are worth beside
# untuned ones and recommenders, several at once, with the real SmolLM2-135M-Instruct on MovieLens.
# usage: gpu_tuning.sh SMOLLM2 ML-100K ML-1M.zip [COMMAND [HOME [STEP...]]]
# SMOLLM2 is an ordinary folder of the model. Steps: data methods shape few curves time boards; all by default. A job that fails or
# takes more than LIMIT seconds (600) is said at its place, and the others go on; the exit status is then 1. Other variables:
# DEVICE (cuda), JOBS (5) at once in `few` and `curves`, SHAPE (qwen2-1.5b) of random weights, SCALE (1) divides samples and users.
set -u
here=$(dirname "$0")
export LLMRS_BENCH_HOME="${5:-bench}" DEVICE="${DEVICE:-cuda}" LIMIT="${LIMIT:-600}" SCALE="${SCALE:-1}"
smollm2=$1 small=$2 large=$3 bench=${4:-llmrs-bench}
python=${PYTHON:-python3}
failed=0

run() {
    echo "\$ $*"
    timeout "$LIMIT" "$@" || { echo "failed: $*"; failed=1; }
}

# job DATA TEMPLATE[:PART=NAME] METHOD SAMPLES [OPTION...]: tune, unless METHOD is none, and ask the model about the test
# users.
job() {
    data=$1 template=${2%%:*} part=${2#"${2%%:*}"} method=$3 samples=$4 model=$smollm2
    part=${part:+-T${part#:}}
    shift 4
    if [ "$method" != none ]; then
        [ "$samples" = all ] || samples=$(( (samples + SCALE - 1) / SCALE ))
        # shellcheck disable=SC2086
        model=$(timeout "$LIMIT" "$bench" tune --model "$smollm2" --dataset "$data" --template "$template" $part --device "$DEVICE" \
            --method "$method" --samples "$samples" "$@") || { echo "failed: tune $data $template $method $samples $*"; return 1; }
    fi
    set --
    [ "$template" != listwise ] || set -- -O answer_tokens=$([ -z "$part" ] && echo 160 || echo 320) -O batch_tokens=131072
    # shellcheck disable=SC2086
    run "$bench" infer --model "$model" --dataset "$data" --template "$template" $part --device "$DEVICE" --engine transformers "$@"
    return "$failed"
}

if [ "${6:-}" = --job ]; then
    shift 6
    job "$@"
    exit
fi
shift $(($# < 5 ? $# : 5))
[ $# -gt 0 ] || set -- data methods shape few curves time boards
users=$((2000 / SCALE))

for step; do
    case $step in
    data)
        run "$bench" prepare --dataset ml100k@tuning --source "$small" --users "$([ "$SCALE" = 1 ] && echo all || echo $users)"
        run "$bench" prepare --dataset ml1m@tuning --source "$large" --users $users
        run "$bench" prepare --dataset ml1m@collm --source "$large" --task click --protocol collm --users all
        ;;
    methods) # each alone on the machine
        for options in "lora" "lora -O dtype=float32" "lora -O quantization=nf4" "full"; do
            # shellcheck disable=SC2086
            run "$bench" tune --model "$smollm2" --dataset ml100k@tuning --template label --device "$DEVICE" --samples $((1024 / SCALE)) \
                -O epochs=2 -O valid=50 --method $options
        done
        ;;
    shape)
        for options in "lora" "lora -O quantization=nf4" "lora -O checkpointing=true" "full"; do
            # shellcheck disable=SC2086
            run "$python" "$here/tuning.py" --dataset ml100k --source "$small" --task label --shape "${SHAPE:-qwen2-1.5b}" --users 20 \
                --samples $((128 / SCALE)) --device "$DEVICE" --home "$LLMRS_BENCH_HOME-shape" -O epochs=1 -O valid=20 --method $options
        done
        ;;
    few) # 256 samples against none; several ways, all of which are told
        xargs -P "${JOBS:-5}" -L 1 sh "$0" "$smollm2" "$small" "$large" "$bench" "$LLMRS_BENCH_HOME" --job <<'JOBS' || failed=1
ml100k@tuning listwise:answer=titles full 256 -O epochs=8 -O lr=1e-4 -O context=2048 -O batch_tokens=16384
ml100k@tuning listwise:answer=titles lora 256 -O epochs=8 -O lr=5e-4 -O context=2048 -O batch_tokens=16384
ml100k@tuning listwise:answer=titles none 0
ml100k@tuning listwise lora 256 -O epochs=8 -O lr=5e-4 -O batch_tokens=16384
ml100k@tuning listwise none 0
ml100k@tuning label full 256 -O epochs=8 -O lr=1e-4 -O redraw=true -O batch_tokens=16384
ml100k@tuning likelihood lora 256 -O epochs=8 -O lr=5e-4 -O batch_tokens=16384
ml100k@tuning likelihood lora 256 -O epochs=8 -O lr=5e-4 -O batch_tokens=16384 -O quantization=nf4
ml1m@collm like lora 256 -O epochs=8 -O lr=5e-4 -O batch_tokens=16384 -O quantization=nf4
JOBS
        ;;
    curves)
        xargs -P "${JOBS:-5}" -L 1 sh "$0" "$smollm2" "$small" "$large" "$bench" "$LLMRS_BENCH_HOME" --job <<'JOBS' || failed=1
ml100k@tuning label lora 16384 -O epochs=1 -O evaluate_every=64 -O batch=64 -O lr=1e-3 -O batch_tokens=32768
ml100k@tuning likelihood lora 16384 -O epochs=1 -O evaluate_every=64 -O batch=64 -O lr=1e-3 -O batch_tokens=32768
ml1m@collm like lora all -O epochs=1 -O evaluate_every=64 -O batch=64 -O lr=1e-3 -O batch_tokens=32768
ml100k@tuning label full 16384 -O epochs=1 -O evaluate_every=64 -O batch=64 -O lr=1e-4 -O batch_tokens=32768
ml100k@tuning likelihood full 16384 -O epochs=1 -O evaluate_every=64 -O batch=64 -O lr=1e-4 -O batch_tokens=32768
ml100k@tuning label lora 256 -O epochs=8 -O lr=5e-4 -O redraw=true
ml1m@collm like lora 256 -O epochs=8 -O lr=5e-4
ml100k@tuning label none 0
ml100k@tuning likelihood none 0
ml1m@collm like none 0
ml1m@tuning likelihood none 0
ml1m@tuning likelihood full 32768 -O epochs=1 -O evaluate_every=64 -O batch=64 -O lr=1e-4 -O batch_tokens=32768
ml100k@tuning listwise lora 2048 -O epochs=2 -O batch=32 -O lr=1e-3 -O batch_tokens=32768
ml100k@tuning label lora 2048 -O epochs=4 -O batch=32 -O lr=1e-3 -O redraw=true -O batch_tokens=32768
ml100k@tuning likelihood lora 2048 -O epochs=4 -O batch=32 -O lr=1e-3 -O batch_tokens=32768
ml1m@collm like lora 2048 -O epochs=4 -O batch=32 -O lr=1e-3 -O batch_tokens=32768
JOBS
        ;;
    time)
        run "$bench" run protocols/time --model "$smollm2" --engine transformers --dataset ml100k --source "$small" --set data.users=all \
            --set defaults.device="$DEVICE"
        ;;
    boards)
        for data in ml100k@tuning ml1m@tuning; do
            for model in random popularity itemknn sasrec; do
                run "$bench" infer --model $model --dataset $data
            done
        done
        for data in ml100k@tuning ml1m@tuning ml1m@collm; do
            run "$bench" compare --dataset $data --format markdown
        done
        ;;
    *) echo "unknown step $step" && failed=1 ;;
    esac
done
exit "$failed"
