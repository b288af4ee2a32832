#!/usr/bin/env bash
# mpirun with what several ranks on one machine need: launch/mpirun.sh N medfuse-arguments...
#   more ranks than cores, no pinning, one OpenMP thread a rank (MEDFUSE_THREADS for more), root allowed in containers.
set -euo pipefail
if ! [[ ${1:-} =~ ^[1-9][0-9]*$ ]]; then
  printf 'usage: launch/mpirun.sh RANKS COMMAND [OPTIONS]     (for example: launch/mpirun.sh 2 info)\n' >&2
  exit 2
fi
ranks=$1
shift
export OMP_NUM_THREADS=${MEDFUSE_THREADS:-1} OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
# mpirun puts a pipe between the ranks and the terminal: this tells them that there is one, and how wide.
if [ -t 2 ]; then MEDFUSE_TERMINAL=$(tput cols 2>/dev/null || echo 80); export MEDFUSE_TERMINAL; fi
exec mpirun --oversubscribe --bind-to none -np "$ranks" "$(dirname "$0")/../build/launch/medfuse" "$@"
