#!/usr/bin/env bash
# Checkpoints of this project, a plain write, and PyTorch's distributed checkpoint, in turn; one Markdown table.
#   bench/checkpoint.sh [RANKS [MIB ROUNDS [FOLDER]]]     (default: 2 ranks, 512 MiB, 5 rounds, a temporary folder)
# MEDFUSE_BUILD: where the programs were built (default: build).
set -euo pipefail
cd "$(dirname "$0")/.."
ranks=${1:-2} mib=${2:-512} rounds=${3:-5}
for number in "$ranks" "$mib" "$rounds"; do
  if (($# > 4 || $# == 2)) || ! [[ $number =~ ^[1-9][0-9]*$ ]]; then
    printf 'usage: bench/checkpoint.sh [RANKS [MIB ROUNDS [FOLDER]]]\n' >&2
    exit 2
  fi
done
export OMP_NUM_THREADS=1 OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
folder=$(mktemp -d "${4:-${TMPDIR:-/tmp}}/medfuse-bench-XXXXXX")
trap 'rm -rf "$folder"' EXIT
{
  mpirun --oversubscribe --bind-to none -np "$ranks" "${MEDFUSE_BUILD:-build}/bench/medfuse_bench_checkpoint" "$folder" \
    "$mib" "$rounds"
  "${MEDFUSE_DEPS:-$PWD/.deps}/python/bin/python" bench/dcp.py "$ranks" "$folder" "$mib" "$rounds"
} | awk -F, '
  NR == 1 {
    print "| way | ranks | MiB | training stands still | until on disk | MiB/s | speed of steps beside it | training lost |"
    print "|---|---|---|---|---|---|---|---|"
    next
  }
  {
    lost = $4 + ($5 - $4) * (1 - $7)  # standing still, and the part of the rest by which steps are slower
    printf "| %s | %s | %s | %s s | %s s | %s | %s | %.3f s |\n", $1, $2, $3, $4, $5, $6, $7, lost
  }'
