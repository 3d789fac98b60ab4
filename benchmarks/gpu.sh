#!/bin/sh
# Everything that a GPU is needed for, unattended: each engine beside the floor at the shapes of Llama-2-7B and Qwen3 (random
# weights, bfloat16), and the real SmolLM2-135M-Instruct on MovieLens-100K in bfloat16 and float32 on both engines.
# usage: gpu.sh SMOLLM2 ML-100K [COMMAND [HOME [STEP...]]]
# SMOLLM2 is an ordinary folder of the model. Steps: 7b-vllm 7b-transformers qwen3 real; all by default. A step that fails is
# said at its place, and the others go on; the exit status is then 1. Variables for a rehearsal without a GPU: DEVICE (cuda),
# LARGE (7b) and QWEN3 (qwen3-0.6b qwen3-8b), shapes of random weights, USERS (64), and VLLM_OPTIONS, such as
# `-O enforce_eager=true` where no compiler is.
set -u
device=${DEVICE:-cuda} large=${LARGE:-7b}
smollm2=$1 small=$2 bench=${3:-llmrs-bench}
LLMRS_BENCH_HOME=${4:-bench}
export LLMRS_BENCH_HOME
shift $(($# < 4 ? $# : 4))
[ $# -gt 0 ] || set -- 7b-vllm 7b-transformers qwen3 real
here=$(dirname "$0")
python=${PYTHON:-python3}
failed=0

run() {
    echo "\$ $*"
    "$@" || { echo "failed: $*"; failed=1; }
}
modes() { run "$python" "$here/modes.py" --device "$device" --quick --users "${USERS:-64}" "$@"; }
ask() { run "$bench" infer --dataset ml100k@gpu --model "$smollm2" --device "$device" "$@"; }

for step; do
    case $step in
    7b-vllm)
        # shellcheck disable=SC2086
        modes --engine vllm --shape "$large" --plain likelihood --modes likelihood label yes-no generate grammar \
            ${VLLM_OPTIONS:-}
        ;;
    7b-transformers)
        modes --engine transformers --shape "$large" --plain likelihood --modes likelihood label yes-no generate grammar
        ;;
    qwen3)
        for shape in ${QWEN3:-qwen3-0.6b qwen3-8b}; do
            modes --engine vllm --shape "$shape" --modes likelihood yes-no -O enforce_eager=true
        done
        ;;
    real)
        run "$bench" prepare --dataset ml100k@gpu --source "$small" --users all
        for model in random popularity itemknn; do run "$bench" infer --dataset ml100k@gpu --model "$model"; done
        for dtype in bfloat16 float32; do
            ask --template likelihood -O dtype=$dtype
            ask --template likelihood -O dtype=$dtype --engine vllm -O enforce_eager=true
        done
        ask --template yes-no -O dtype=bfloat16
        ask --template listwise -O dtype=bfloat16 -O answer_tokens=160 --engine vllm
        run "$bench" evaluate --dataset ml100k@gpu
        run "$bench" compare --dataset ml100k@gpu --format markdown
        ;;
    *) echo "unknown step $step" && failed=1 ;;
    esac
done
exit "$failed"
