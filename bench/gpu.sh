#!/usr/bin/env bash
# Everything that only a GPU can tell, in at most 8 minutes: see docs/performance.md.
#
#     OUT=results bench/gpu.sh
#
# A part that fails or takes too long never stops the next; results are written as they come, eight
# files in all: log.txt, tests.xml, decisions.json, decisions.png, training.json, profile.md,
# traces.tar.gz and trainings.tar.gz. The last lines are one table. `make gpu-dry` tries it all on a CPU.
set -uo pipefail
out=$(realpath -m "${OUT:-out/gpu}")
cd "$(dirname "$0")/.."
device=${DEVICE:-cuda} python=${PYTHON:-python3}
small=() scale=1
# A trial of the program: small sizes, and no more than half of the time.
if [ -n "${SMALL:-}" ]; then small=(--small) scale=2; fi
total=$((480 / scale))
mkdir -p "$out"
exec > >(tee "$out/log.txt") 2>&1
log=$!
export PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 TQDM_MININTERVAL=20
site=$(mktemp -d)
trap 'rm -rf "$site"' EXIT
if compgen -G ".whl/*.whl" >/dev/null; then
  "$python" -m pip install --quiet --no-index --no-deps --no-compile --target "$site" .whl/*.whl
fi
export PYTHONPATH="$site:$PWD:$PWD/bench"

part() { # NAME SECONDS COMMAND...
  local name=$1 limit=$2 begun=$SECONDS
  shift 2
  echo "== $name: at most $limit s"
  timeout --signal=INT --kill-after=10 "$limit" "$@"
  echo "== $name: exit code $?, $((SECONDS - begun)) s"
}

nvidia-smi 2>/dev/null || echo "no nvidia-smi"
part tests 140 "$python" -m pytest -q -m gpu -p no:cacheprovider \
  --junitxml="$out/tests.xml" test/gpu
part decisions $((140 / scale)) "$python" bench/decisions.py --device "$device" --seconds "${CASE_SECONDS:-4}" \
  --out "$out" "${small[@]}"
part training $((70 / scale)) "$python" bench/training.py --device "$device" --seconds "${CASE_SECONDS:-6}" \
  --out "$out" "${small[@]}"
part profile $((60 / scale)) "$python" bench/gpu_profile.py --device "$device" --out "$out" "${small[@]}"
left=$((total - SECONDS - 10))
part trainings "$left" "$python" bench/gpu_trainings.py --device "$device" --seconds "$left" \
  --out "$out" "${small[@]}"
"$python" bench/gpu_table.py "$out"
exec >&- 2>&-
wait "$log"
