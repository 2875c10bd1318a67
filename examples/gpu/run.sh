#!/usr/bin/env bash
# What a machine with a GPU is asked: examples/gpu/run.sh STAGE... (README.md beside it says more).
#
#   check         the tests marked cuda, then the whole suite (or one of them: check-cuda, check-suite)
#   bench         time and memory of updates, eager and compiled, beside MONAI and segmentation-models-pytorch
#   table-1       examples/ablations/table-1.yaml at 512 x 512 pixels, as many seeds as the time allows
#   zoo           examples/ablations/zoo.yaml: what every network costs, and trainings, as many seeds as the time allows
#   control       nnU-Net v2 on the same films and split
#
# Results go to $OUT (gpu-results), a stage's in few small files. A stage ends after its seconds with what it has, and
# continues where an earlier call stopped.
set -uo pipefail

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
here="$root/examples/gpu"
PYTHON="${PYTHON:-python3}"
OUT="${OUT:-gpu-results}"
mkdir -p "$OUT" && OUT="$(cd "$OUT" && pwd)" || exit 2
WORK="${WORK:-$OUT/work}"
mkdir -p "$WORK" && WORK="$(cd "$WORK" && pwd)" || exit 2
DATA="${DATA:-}"                       # as `cxrkit train --data` takes it
SPLIT="${SPLIT:-$root/examples/splits/wingspan-all.json}"
TINY="${TINY:-}"                       # anything: small settings, to see whether the stages work here
STAGE_SECONDS="${STAGE_SECONDS:-240}"  # of each stage; CHECK_SECONDS, BENCH_SECONDS, ... of one
[ -d "$DATA" ] && DATA="$(cd "$DATA" && pwd)"

export PYTHONPATH="$root:$root/plugins:$WORK/metadata${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1
export CXRKIT_CACHE="${CXRKIT_CACHE:-$WORK/cache}" NO_COLOR=1
cd "$root" || exit 2
"$PYTHON" "$here/metadata.py" "$WORK/metadata" || exit 2

seconds_of() { local name="${1}_SECONDS"; echo "${!name:-$STAGE_SECONDS}"; }
left() { echo $(($1 - SECONDS)); }    # seconds until a time of $SECONDS
skip() { echo "$1: skipped: $2" | tee "$OUT/$1.txt"; }
limited() {                           # limited SECONDS COMMAND...: Ctrl-C after so long, the end 20 seconds later
  local limit="$1"; shift
  [ "$limit" -ge 1 ] || return 124
  timeout --signal=INT --kill-after=20 "$limit" "$@"
}
has() { "$PYTHON" -c "import importlib.util as u, sys; sys.exit(any(u.find_spec(n) is None for n in sys.argv[1:]))" "$@"; }

run_tests() {                         # run_tests NAME LIMIT PYTEST-ARGUMENT...
  local name="$1" limit="$2" file="$OUT/$1.txt"; shift 2
  limited "$limit" "$PYTHON" -m pytest -q --tb=short --durations=10 --color=no -p no:cacheprovider "$@" \
    > "$file.all" 2>&1 < /dev/null
  local status=$?
  { echo "status $status (124: stopped after $limit s)"; tail -c 200000 "$file.all"; } > "$file"
  rm -f "$file.all"
  echo "$name: $(tail -n 1 "$file")"
}
pytest_options() {                    # pytest_options PROCESSES
  ! has xdist || echo "-n $1"
  ! has pytest_timeout || echo "--timeout=150"
}
check_cuda() {
  # shellcheck disable=SC2046  # words on purpose
  run_tests check-cuda "$(seconds_of CHECK)" -m cuda $(pytest_options 4) "${CHECK_TESTS:-tests/cuda}"
}
check_suite() {
  # shellcheck disable=SC2046
  run_tests check-suite "$(seconds_of CHECK)" -m "not cuda" $(pytest_options "${CHECK_WORKERS:-12}") \
    "${CHECK_TESTS:-tests}"
}
check() { local end=$((SECONDS + $(seconds_of CHECK))); check_cuda; CHECK_SECONDS="$(left "$end")" check_suite; }

bench() {
  "$PYTHON" "$here/bench.py" --seconds "$(seconds_of BENCH)" --work "$WORK/bench" --out "$OUT" ${TINY:+--tiny}
}

ablation() {                          # ablation NAME LIMIT SEEDS PLAN-AND-FLAGS...: seed after seed, until time is up
  local name="$1" end=$((SECONDS + $2)) seeds="$3" folder="$WORK/$1"; shift 3
  # What an earlier call brought back stands for the runs that it finished.
  [ ! -d "$folder" ] && [ -f "$OUT/$name.tar.gz" ] && tar -xzf "$OUT/$name.tar.gz" -C "$WORK"
  local reserve=${TINY:+5} count=1 ablate=("$PYTHON" -m cxrkit ablate) status=0
  local slots="${SLOTS:-5}"
  reserve="${reserve:-30}"            # for the report
  while [ "$count" -le "$seeds" ] && [ "$(left "$end")" -gt "$reserve" ]; do
    if [ -f "$folder/ablation.yaml" ]; then
      local known; known="$("$PYTHON" "$here/seeds.py" "$folder")"
      [ "$known" -gt "$count" ] && count="$known"
      ablate=("$PYTHON" -m cxrkit ablate --resume "$folder" --seeds "$count")
    else
      ablate=("$PYTHON" -m cxrkit ablate "$@" --seeds 1 --out "$folder")
    fi
    limited "$(($(left "$end") - reserve))" "${ablate[@]}" --set "launcher.per_gpu=$slots" --quiet < /dev/null
    status=$?
    if [ "$status" -eq 0 ]; then
      count=$((count + 1))
    elif [ "$status" -eq 124 ] || [ "$slots" -eq 1 ]; then
      break
    else
      slots=$(((slots + 1) / 2))      # most likely the device's memory
      echo "$name: status $status; again with $slots side by side"
    fi
  done
  [ -d "$folder" ] || { echo "$name: nothing was begun (status $status)"; return 1; }
  limited 60 "$PYTHON" -m cxrkit report "$folder" > "$OUT/$name.txt" 2>&1 < /dev/null
  tar -czf "$OUT/$name.tar.gz" -C "$WORK" --exclude='*.safetensors' --exclude='*.h5' --exclude='*.jpg' \
    --exclude='report/*.png' --exclude='seed-*/report' "$name"
  echo "$name: status $status; $(find "$folder/runs" -name test-last.json | wc -l) runs scored; see $OUT/$name.txt"
}
table_1() {
  [ -n "$DATA$TINY" ] || { skip table-1 "DATA names no films"; return; }
  local settings=(--set preprocess.size=512 --set model.base_channels=48)
  local small=(--mixup 0.2 --train-size 10 --set train.batch_size=2 --set model.base_channels=4 --set model.depth=2 --set preprocess.size=32
    --set split.test_size=3 --set train.steps=4 --set train.precision=32 --set train.validate_every=2)
  [ -n "$DATA" ] || small+=(--set data.count=20 --set data.size=64)
  [ -n "$TINY" ] && settings=("${small[@]}")
  ablation table-1 "$(seconds_of TABLE)" "${SEEDS:-5}" examples/ablations/table-1.yaml --data "${DATA:-phantom}" \
    "${settings[@]}"
}

zoo() {
  local end=$((SECONDS + $(seconds_of ZOO))) plan=examples/ablations/zoo.yaml settings=() network
  if [ -n "$TINY" ]; then
    settings=(--size 32 --set train.batch_size=2)
    for network in U-Net "Attention U-Net" BCDU-Net U-Net++ FCN-8s SCAU-Net "Spatial-channel gates" \
      "Focal Tversky Attention U-Net" CoLe-CNN; do
      settings+=(--exclude "network=$network")
    done
  fi
  if [ ! -s "$OUT/zoo.json" ]; then
    limited "$(left "$end")" "$PYTHON" -m cxrkit bench "$plan" --set train_size=10 "${settings[@]}" --quiet --json \
      --rounds "$([ -n "$TINY" ] && echo 1 || echo 10)" > "$WORK/zoo.json" < /dev/null && mv "$WORK/zoo.json" "$OUT/zoo.json"
    echo "zoo: status $?; see $OUT/zoo.json"
  fi
  [ -n "$DATA" ] || { echo "zoo: no trainings, because DATA names no films"; return; }
  [ -n "$TINY" ] && settings+=(--steps 2 --set train.validate_every=2)
  ablation zoo "$(left "$end")" "${SEEDS:-5}" "$plan" --data "$DATA" "${settings[@]}"
}

control() {
  [ -n "$DATA" ] || { skip control "DATA names no films"; return; }
  has nnunetv2 || { skip control "nnunetv2 isn't installed for $PYTHON"; return; }
  [ -s "$OUT/control.json" ] && { echo "control: was done before: $OUT/control.json"; return; }
  local settings=(--size 512)
  [ -n "$TINY" ] && settings=(--size 64 --iterations 2 --epochs 1)
  limited "$(($(seconds_of CONTROL) + 60))" "$PYTHON" "$here/control.py" --data "$DATA" --split "$SPLIT" \
    --seconds "$(seconds_of CONTROL)" --work "$WORK/control" --out "$OUT" "${settings[@]}" \
    > "$WORK/control.log" 2>&1 < /dev/null
  local status=$?
  { echo "status $status"; tail -n 150 "$WORK/control.log"; } > "$OUT/control.txt"
  echo "control: status $status; see $OUT/control.txt"
  return "$status"
}

[ "$#" -gt 0 ] || { sed -n '2,12s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit 2; }
worst=0
for stage in "$@"; do
  case "$stage" in
    check | check-cuda | check-suite | bench | table-1 | zoo | control) ;;
    *) echo "There is no stage '$stage': check, bench, table-1, zoo, control."; exit 2 ;;
  esac
done
for stage in "$@"; do
  echo "== $stage ($SECONDS s)"
  "${stage//-/_}" || worst=1
done
echo "== done ($SECONDS s): $OUT"
exit "$worst"
