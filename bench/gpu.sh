#!/usr/bin/env bash
# All tests and benchmarks that need a GPU, in at most 8 minutes: see docs/explanation/performance.md.
#
#     OUT=results bench/gpu.sh
#
# A part that fails or takes too long never stops the next. Results are written at once, seven files:
# log.txt, decisions.json, decisions.png, training.json, profile.md, traces.tar.gz and
# trainings.tar.gz. The last lines are one table. `make gpu-dry` runs a trial on a CPU.
set -uo pipefail
out=$(realpath -m "${OUT:-out/gpu}")
cd "$(dirname "$0")/.."
device=${DEVICE:-cuda} python=${PYTHON:-python3} seconds=${CASE_SECONDS:-4}
small=() patience=1
# A trial run takes small sizes, and more time for a busy machine.
if [ -n "${SMALL:-}" ]; then small=(--small) patience=3; fi
mkdir -p "$out"
(cd "$out" && rm -f log.txt decisions.json decisions.png training.json profile.md traces.tar.gz \
  trainings.tar.gz)
exec > >(tee "$out/log.txt") 2>&1
log=$!
export PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 TQDM_MININTERVAL=20
site=$(mktemp -d)
trap 'rm -rf "$site"' EXIT
if compgen -G ".whl/*.whl" >/dev/null; then
  timeout 30 "$python" -m pip install --quiet --no-index --no-deps --no-compile --target "$site" \
    .whl/*.whl
fi
export PYTHONPATH="$site:$PWD/bench:$PWD"

part() { # NAME SECONDS COMMAND...
  local name=$1 limit=$(($2 * patience)) begun=$SECONDS code
  shift 2
  if ((limit < 10)); then echo "== $name: no time left"; return; fi
  echo "== $name: at most $limit s"
  timeout --signal=INT --kill-after=10 "$limit" "$@"
  code=$?
  echo "== $name: exit code $code, $((SECONDS - begun)) s"
}

timeout 20 nvidia-smi || echo "no nvidia-smi"
# One process per file: a device error or a hang does not affect the tests of other files.
for file in test/gpu/test_*.py; do
  part "$(basename "$file" .py)" 60 "$python" -m pytest -m gpu -v --tb=short -p no:cacheprovider \
    -o faulthandler_timeout=$((50 * patience)) "$file"
done
common=(--device "$device" --out "$out" "${small[@]}")
part decisions 130 "$python" bench/decisions.py --seconds "$seconds" "${common[@]}"
part training 60 "$python" bench/training.py --seconds "$seconds" "${common[@]}"
part profile 50 "$python" bench/gpu_profile.py "${common[@]}"
left=$((patience > 1 ? 60 : 470 - SECONDS))
part trainings "$left" "$python" bench/gpu_trainings.py --seconds "$left" "${common[@]}"
sleep 1 # until the log is complete
"$python" bench/gpu_table.py "$out"
exec >&- 2>&-
wait "$log"
