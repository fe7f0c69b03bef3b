#!/usr/bin/env bash
# Train the networks of docs/mulca.md on a machine that has a GPU, Python and torch, but no
# network. Run from the root of the repository.
#
#   here:   training/on_gpu.sh pack       the bank and a few wheels -> training/data/gpu/{1,2,3},
#                                         in three parts, because transfers are limited in size
#   there:  training/on_gpu.sh receive    after each folder has arrived: copy it to $DATA
#           training/on_gpu.sh smoke      all four for SMOKE_MINUTES, then their logs
#           training/on_gpu.sh start      all four in the background for MINUTES
#           training/on_gpu.sh status     last line of each log
#           training/on_gpu.sh collect    checkpoints and logs -> $OUT
set -euo pipefail

DATA=${DATA:-/tmp/fsnp}
PYTHON=${PYTHON:-python3}
MINUTES=${MINUTES:-17}
SMOKE_MINUTES=${SMOKE_MINUTES:-0.6}
BATCH=${BATCH:-64}
VARIANTS=${VARIANTS:-"original simplified"}
SEEDS=${SEEDS:-"0 1"}
export PYTHONPATH="$DATA/wheels:.${PYTHONPATH:+:$PYTHONPATH}"

pack() {
  local bank=training/data/bank gpu=training/data/gpu
  rm -rf "$gpu" && mkdir -p "$gpu"/{1,2,3}
  cp "$bank"/{festvox_ru,flite}.flac "$bank"/*_held_out.flac "$gpu/1"
  cp "$bank"/{asterisk_it,asterisk_ru,gcin}.flac "$gpu/2"
  cp "$bank"/{kokoro.flac,sonic.flac,index.json} "$gpu/3"
  local wheels=(--quiet --no-deps --only-binary=:all: --dest "$gpu/3"
    --platform manylinux_2_28_x86_64 --platform manylinux2014_x86_64)
  "$PYTHON" -m pip download "${wheels[@]}" soundfile rich typer click shellingham markdown-it-py \
    mdurl pygments pycparser annotated-doc typing-extensions
  for version in 3.11 3.12 3.13; do
    "$PYTHON" -m pip download "${wheels[@]}" --python-version "$version" cffi
  done
  du -sm "$gpu"/*
}

receive() {
  mkdir -p "$DATA/bank" "$DATA/wheels"
  for file in training/data/gpu/*/*; do
    case $file in
      *.whl) "$PYTHON" -m zipfile -e "$file" "$DATA/wheels" ;;
      *) cp "$file" "$DATA/bank" ;;
    esac
  done
  ls -l "$DATA/bank"
}

# train_all FOLDER MINUTES: one process for each variant and seed, in the background.
train_all() {
  mkdir -p "$1"
  for seed in $SEEDS; do
    for variant in $VARIANTS; do
      OMP_NUM_THREADS=2 setsid nohup "$PYTHON" -m training.train --device "${DEVICE:-cuda}" \
        --bank-dir "$DATA/bank" --run-dir "$1/$variant-$seed" --minutes "$2" --seed "$seed" \
        --mulca "$variant" --batch-size "$BATCH" ${TRAIN_OPTIONS:-} </dev/null >"$1/$variant-$seed.out" 2>&1 &
    done
  done
}

show() {
  for log in "$1"/*/log.jsonl; do echo "$log" && tail -n "$2" "$log"; done
  tail -n 3 "$1"/*.out
  nvidia-smi --query-gpu=utilization.gpu,memory.used --format=csv || true
}

smoke() {
  rm -rf "$DATA/smoke"
  train_all "$DATA/smoke" "$SMOKE_MINUTES"
  wait
  show "$DATA/smoke" 2
}

collect() {
  for run in "$DATA"/runs/*/; do
    cp "$run/checkpoint.tar" "$OUT/$(basename "$run").tar"
    cp "$run/log.jsonl" "$OUT/$(basename "$run").jsonl"
  done
  ls -l "$OUT"
}

case ${1:-} in
  pack | receive | smoke | collect) "$1" ;;
  start) train_all "$DATA/runs" "$MINUTES" && sleep 5 && tail -n 3 "$DATA"/runs/*.out ;;
  status) show "$DATA/runs" 1 ;;
  *) sed -n '2,11p' "$0" && exit 2 ;;
esac
