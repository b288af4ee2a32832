#!/usr/bin/env bash
# mpirun with what several ranks on one machine need: launch/mpirun.sh N medfuse-arguments...
#   more ranks than cores, no pinning, one OpenMP thread a rank (MEDFUSE_THREADS for more), root allowed in containers.
set -euo pipefail
ranks=$1
shift
export OMP_NUM_THREADS=${MEDFUSE_THREADS:-1} OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
exec mpirun --oversubscribe --bind-to none -np "$ranks" "$(dirname "$0")/../build/launch/medfuse" "$@"
