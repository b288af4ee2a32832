#!/usr/bin/env bash
# The whole job on a laptop: install, build, weights, pack, train all stages on 2 ranks, evaluate. Run again, it does
# only what is not done yet. Exits non-zero when the test macro-AUROC is under .85.
#   launch/demo.sh [RUN_FOLDER]     (default: runs/demo)
set -euo pipefail
cd "$(dirname "$0")/.."
run=${1:-runs/demo}
ranks=2
started=$SECONDS
timings=()

step() {  # step NAME COMMAND...: runs it and keeps its wall time
  local name=$1 begin=$SECONDS
  shift
  printf '\n== %s\n' "$name"
  "$@"
  timings+=("$(printf '%-28s %5d s' "$name" $((SECONDS - begin)))")
}

step "install" launch/install.sh
step "build" launch/build.sh --target medfuse
step "weights" launch/weights.sh
packed=$run/packed
if [ "$packed/index.json" -nt configs/demo.cfg ]; then
  printf '\n== pack: %s is there\n' "$packed"
else
  step "pack ($ranks ranks)" launch/mpirun.sh $ranks pack --config configs/demo.cfg \
    --input data/samples/clinosim-mimic3 --output "$packed"
fi
step "train ($ranks ranks)" launch/mpirun.sh $ranks train --config configs/demo.cfg --data.path "$packed" --run "$run"
step "evaluate ($ranks ranks)" launch/mpirun.sh $ranks evaluate --run "$run"

printf '\n== time\n'
printf '%s\n' "${timings[@]}"
printf '%-28s %5d s\n' "all" $((SECONDS - started))
printf '\n== files\n%s\n%s\n%s\n%s\n' "$run/evaluation.json  scores" "$run/report.html      curves and tables" \
  "$run/metrics.jsonl    training, one object a line" "$run/checkpoints/     continue or predict from here"

"${MEDFUSE_DEPS:-$PWD/.deps}/python/bin/python" - "$run/evaluation.json" <<'EOF'
import json, sys
auroc = json.load(open(sys.argv[1]))["macro_auroc"]
print(f"\ntest macro-AUROC {auroc:.4f} ({'at least' if auroc >= .85 else 'UNDER'} .85)")
sys.exit(0 if auroc >= .85 else 1)
EOF
