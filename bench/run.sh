#!/usr/bin/env bash
# Collectives of this project, of bare MPI and of torch.distributed over gloo, in turn; one Markdown table.
#   bench/run.sh [RANKS [SMALLEST LARGEST ROUNDS]]     (default: 2 ranks, 1 KiB to 256 MiB, 10 rounds)
# Times are medians of the slowest rank; GB/s is bus bandwidth as in nccl-tests: bytes / time, times 2 (n - 1) / n for
# all_reduce and (n - 1) / n for the others. MEDFUSE_BUILD: where the programs were built (default: build).
set -euo pipefail
cd "$(dirname "$0")/.."
ranks=${1:-2}
shift $(($# > 0 ? 1 : 0))
if ! [[ $ranks =~ ^[1-9][0-9]*$ ]] || (($# != 0 && $# != 3)); then
  printf 'usage: bench/run.sh [RANKS [SMALLEST LARGEST ROUNDS]]\n' >&2
  exit 2
fi
export OMP_NUM_THREADS=1 OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
mpirun --oversubscribe --bind-to none -np "$ranks" "${MEDFUSE_BUILD:-build}/bench/medfuse_bench_collectives" "$@" \
  > "$folder/ours.csv"
"${MEDFUSE_DEPS:-$PWD/.deps}/python/bin/python" bench/gloo.py "$ranks" "$@" > "$folder/gloo.csv"
# Rows of the same collective and size, joined; a row that only one of them has is an error.
awk -F, '
  FNR == 1 { next }
  NR == FNR { gloo[$1 "," $2] = $3 "," $4; next }
  !(($1 "," $2) in gloo) { print "bench/run.sh: gloo has no " $1 " of " $2 " bytes" > "/dev/stderr"; exit 1 }
  { split(gloo[$1 "," $2], other, ",")
    if (++rows == 1) {
      print "| collective | bytes | medfuse us | GB/s | MPI us | GB/s | gloo us | GB/s | MPI / medfuse |"
      print "|---|---|---|---|---|---|---|---|---|"
    }
    printf "| %s | %d | %s | %s | %s | %s | %s | %s | %s |\n", $1, $2, $3, $4, $5, $6, other[1], other[2], $7
  }' "$folder/gloo.csv" "$folder/ours.csv"
