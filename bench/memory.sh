#!/usr/bin/env bash
# The most that tensors take on a rank while SmolLM2-135M's shape is fine-tuned with random weights, which no file backs, and
# what is planned for it; by tensor degree, zero level and recomputation. One Markdown table.
#   bench/memory.sh [RANKS [TEXTS TOKENS]]     (default: 3 ranks, 2 texts of 256 tokens a rank and step)
# Adapters of rank 64 on all blocks, f32. MEDFUSE_BUILD: where the programs were built (default: build).
set -euo pipefail
cd "$(dirname "$0")/.."
ranks=${1:-3} texts=${2:-2} tokens=${3:-256}
if ! [[ "$ranks $texts $tokens" =~ ^[1-9][0-9]*\ [1-9][0-9]*\ [1-9][0-9]*$ ]] || (($# > 3)); then
  printf 'usage: bench/memory.sh [RANKS [TEXTS TOKENS]]\n' >&2
  exit 2
fi
export OMP_NUM_THREADS=1 OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
shape=${MEDFUSE_DEPS:-$PWD/.deps}/weights/smollm2-135m

# tensor degree, zero level, recomputation, whether tokens are shared
measure() {
  mpirun --oversubscribe --bind-to none -np "$ranks" "${MEDFUSE_BUILD:-build}/bench/medfuse_bench_finetune" "$shape" "$tokens" \
    "$texts" 3 --device cpu --precision f32 --text.lora_rank 64 --parallel.tensor "$1" --parallel.zero "$2" --recompute "$3" \
    --parallel.sequence "$4" |
    awk -F, -v row="| $1 | $2 | $3 | $4 |" '
      $1 == "tensors_mib" { printf "%s %s | %s | %+.1f %% |\n", row, $2, $3, 100 * ($3 / $2 - 1); found = 1 }
      END { exit !found }'
}

printf '| `parallel.tensor` | `parallel.zero` | `recompute` | `parallel.sequence` | measured MiB | planned MiB | |\n'
printf '|---|---|---|---|---|---|---|\n'
for zero in 0 1 2 3; do measure 1 "$zero" full false; done
for mode in none attention; do measure 1 0 "$mode" false; done
measure 1 3 none false
# SmolLM2's nine heads can be divided among three.
if ((ranks == 3)); then
  for mode in none attention full; do measure 3 0 "$mode" false; done
  measure 3 0 none true
  measure 3 0 full true
fi
