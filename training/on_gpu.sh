#!/usr/bin/env bash
# Train the offline and the causal network on a machine that has a GPU, Python and torch, but no
# network. Run from the root of the repository.
#
#   here:   training/on_gpu.sh pack           bank and wheels -> $PARTS, in parts of $PART_SIZE
#   there:  training/on_gpu.sh receive        keep the parts that have arrived in $PARTS; all -> $DATA
#           training/on_gpu.sh start          train both in the background, on $HOURS of mixtures each
#           training/on_gpu.sh watch SECONDS  checkpoints and logs -> $OUT, while they are written
#
# A later machine goes on from what came back: put the files of $OUT into $BACK and start again. `start`
# goes on, too, where a run was cut off on the same machine.
set -euo pipefail

BANK=${BANK:-training/data/bank}
PARTS=${PARTS:-training/data/gpu}
PART_SIZE=${PART_SIZE:-55M}
PYTHONS=${PYTHONS-3.12}  # of the other machine; none: pack no wheels
BACK=${BACK:-training/data/back}
DATA=${DATA:-/tmp/fsnp}
OUT=${OUT:-$DATA/out}
PYTHON=${PYTHON:-python3}
DEVICE=${DEVICE:-cuda}
HOURS=${HOURS:-120}
BATCH=${BATCH:-64}
SECONDS_EACH=${SECONDS_EACH:-4}  # of a mixture
EVERY_S=${EVERY_S:-30}
# Options of training.train for each network; the weights to begin with are in the repository.
OFFLINE=${OFFLINE:---init training/checkpoints/fsnp_small_v2.tar --learning-rate 1e-3}
CAUSAL=${CAUSAL:---init training/checkpoints/fsnp_small_causal_v2.tar --learning-rate 1e-3}
BOTH=${BOTH:---groups 8 --seed 11}
export PYTHONPATH="$DATA/wheels:.${PYTHONPATH:+:$PYTHONPATH}"

pack() {
  rm -rf "$PARTS" && mkdir -p "$PARTS/wheels"
  local wheels=(--quiet --no-deps --only-binary=:all: --dest "$PARTS/wheels"
    --platform manylinux_2_28_x86_64 --platform manylinux2014_x86_64)
  for version in $PYTHONS; do
    "$PYTHON" -m pip download "${wheels[@]}" --python-version "$version" soundfile cffi pycparser \
      rich typer click shellingham markdown-it-py mdurl pygments annotated-doc typing-extensions
  done
  tar -C "$BANK" -cf - --transform 's|^\.|bank|' . -C "$(realpath "$PARTS")" ./wheels |
    split --bytes "$PART_SIZE" --numeric-suffixes --suffix-length 3 - "$PARTS/part."
  rm -r "$PARTS/wheels"
  local count
  count=$(find "$PARTS" -name 'part.*' | wc -l)
  for part in "$PARTS"/part.*; do mv "$part" "$part-of-$count"; done
  du -sm "$PARTS"/*
}

receive() {
  mkdir -p "$DATA/parts" "$DATA/wheels"
  mv "$PARTS"/part.* "$DATA/parts"
  local parts=("$DATA"/parts/part.*)
  echo "${#parts[@]} of ${parts[0]##*-of-} parts"
  if [[ ${#parts[@]} != "${parts[0]##*-of-}" ]]; then return; fi
  cat "${parts[@]}" | tar -C "$DATA" -xf -
  rm -r "$DATA/parts"
  for wheel in "$DATA"/wheels/*.whl; do
    [[ ! -e $wheel ]] || "$PYTHON" -m zipfile -e "$wheel" "$DATA/wheels"
  done
}

# train NAME OPTION ...: in the background, from where an earlier run ended.
train() {
  local name=$1 run="$DATA/runs/$1" steps
  shift
  mkdir -p "$run"
  if [[ ! -e $run/checkpoint.tar && -e $BACK/$name.tar ]]; then
    cp "$BACK/$name.tar" "$run/checkpoint.tar"
    cp "$BACK/$name.jsonl" "$run/log.jsonl"
  fi
  if [[ -e $run/checkpoint.tar ]]; then set -- "$@" --resume; fi
  steps=$("$PYTHON" -c "print(max(1, round(3600 * $HOURS / ($BATCH * $SECONDS_EACH))))")
  # The steps are the budget; the minutes only set how often the state is saved, here every minute.
  OMP_NUM_THREADS=2 setsid nohup "$PYTHON" -m training.train --device "$DEVICE" \
    --bank-dir "$DATA/bank" --run-dir "$run" --steps "$steps" --minutes 20 \
    --batch-size "$BATCH" --seconds "$SECONDS_EACH" "$@" </dev/null >"$run/out" 2>&1 &
  echo $! >"$run/pid"
}

start() {
  # Unquoted: the variables hold several options.
  train offline --mulca original $OFFLINE $BOTH
  train causal --mulca simplified --causal $CAUSAL $BOTH
  sleep 5
  tail -n 3 "$DATA"/runs/*/out
}

collect() {
  mkdir -p "$OUT"
  for run in "$DATA"/runs/*/; do
    if [[ -e $run/checkpoint.tar ]]; then
      cp "$run/checkpoint.tar" "$OUT/$(basename "$run").tar"
      cp "$run/log.jsonl" "$OUT/$(basename "$run").jsonl"
    fi
  done
}

running() {
  for pid in "$DATA"/runs/*/pid; do
    if kill -0 "$(<"$pid")" 2>/dev/null; then return 0; fi
  done
  return 1
}

watch() {
  local end=$((SECONDS + ${1:-540}))
  while running && ((SECONDS < end)); do
    collect
    sleep "$EVERY_S"
  done
  collect
  tail -n 3 "$DATA"/runs/*/out
  tail -n 1 "$OUT"/*.jsonl
}

case ${1:-} in
  pack | receive | start) "$1" ;;
  watch) watch "${2:-}" ;;
  *) sed -n '2,12p' "$0" && exit 2 ;;
esac
