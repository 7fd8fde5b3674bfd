#!/usr/bin/env bash
# fuzz/run.sh <seconds> [target...]: builds the fuzz targets with clang, makes their seeds, and runs
# each for that long, as many at once as there are processors. Fails on any crash, leak or hang, and
# says where the input that did it lies. What a run learns (build/fuzz/corpus) serves the next.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

if ! [[ ${1:-} =~ ^[1-9][0-9]*$ ]]; then
  echo "usage: fuzz/run.sh <seconds> [target...]" >&2
  exit 2
fi
seconds=$1
shift
all=(jpeg png webp safetensors json_config wordpiece tokenizer_json sentencepiece http wire)
targets=("$@")
(($#)) || targets=("${all[@]}")

build=build/fuzz
launcher=()
if command -v ccache >/dev/null; then launcher=(-DCMAKE_CXX_COMPILER_LAUNCHER=ccache); fi
[ -f "$build/build.ninja" ] ||
  cmake -G Ninja -S fuzz -B "$build" -DCMAKE_CXX_COMPILER=clang++ "${launcher[@]}"
cmake --build "$build"
.venv/bin/python fuzz/make_seeds.py "$build/seeds"

# Longer than the seeds, short enough that mutations stay near their headers.
max_length() {
  case $1 in
    sentencepiece) echo 300000 ;;
    *) echo 8192 ;;
  esac
}

run_target() {
  local target=$1 log=$build/$1.log status=0
  mkdir -p "$build/corpus/$target" "$build/artefacts"
  local inputs=("$build/corpus/$target" "$build/seeds/$target")
  if [ -d "fuzz/regressions/$target" ]; then inputs+=("fuzz/regressions/$target"); fi
  "$build/fuzz_$target" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 \
    -max_len="$(max_length "$target")" -artifact_prefix="$build/artefacts/$target-" \
    -print_final_stats=1 -close_fd_mask=3 "${inputs[@]}" >"$log" 2>&1 || status=$?
  if [ "$status" -ne 0 ]; then
    tail -n 40 "$log" >&2
    echo "fuzz_$target failed; its log: $log, the input: $build/artefacts/$target-*" >&2
    return 1
  fi
  awk -v target="$target" '/stat::number_of_executed_units/ { runs = $2 }
    / cov: / { for (i = 1; i < NF; ++i) if ($i == "cov:") cov = $(i + 1) }
    END { printf "%-16s %10d runs, %6d edges\n", target, runs, cov }' "$log"
}

failed=0
running=0
for target in "${targets[@]}"; do
  if ((running >= $(nproc))); then
    wait -n || failed=1
    ((--running)) || true
  fi
  run_target "$target" &
  ((++running))
done
while ((running > 0)); do
  wait -n || failed=1
  ((--running)) || true
done
exit "$failed"
