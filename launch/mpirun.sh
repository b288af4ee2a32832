#!/usr/bin/env bash
# mpirun with what several ranks on one machine need: launch/mpirun.sh N medfuse-arguments...
#   more ranks than cores, no pinning, one OpenMP thread a rank (MEDFUSE_THREADS for more), root allowed in containers.
# SIGTERM to this script, or to all processes of the job, stops a training run with a checkpoint and exit code 85. A bare
# mpirun kills its ranks within a second of it and returns 1 (docs/stopping.md). MEDFUSE names another program to start.
# shellcheck disable=SC2317  # traps call the functions
set -euo pipefail
if ! [[ ${1:-} =~ ^[1-9][0-9]*$ ]]; then
  printf 'usage: launch/mpirun.sh RANKS COMMAND [OPTIONS]     (for example: launch/mpirun.sh 2 info)\n' >&2
  exit 2
fi
ranks=$1
shift
program=${MEDFUSE:-$(dirname "$0")/../build/launch/medfuse}
export OMP_NUM_THREADS=${MEDFUSE_THREADS:-1} OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
# mpirun puts a pipe between the ranks and the terminal: this tells them that there is one, and how wide.
if [ -t 2 ]; then MEDFUSE_TERMINAL=$(tput cols 2>/dev/null || echo 80); export MEDFUSE_TERMINAL; fi

# mpirun takes no notice of SIGTERM, so that it outlives one that goes to the whole job, and dies with this script. Older
# systems (RHEL 8) lack these tools' options: there only a SIGTERM to this script alone is survived.
guard=(setpriv --pdeathsig KILL env --block-signal=TERM)
"${guard[@]}" true 2>/dev/null || guard=()

# The ranks of this node. mpirun's other children are its ways to other nodes.
own_ranks() {
  local stat line name=${program##*/}
  for stat in /proc/[0-9]*/stat; do
    { read -r line <"$stat"; } 2>/dev/null || continue
    if [[ $line =~ ^([0-9]+)\ \(${name:0:15}\)\ [A-Za-z]\ $mpirun\  ]]; then printf '%s\n' "${BASH_REMATCH[1]}"; fi
  done
}

# What one rank is told all agree on. With no rank here (yet), mpirun ends the job itself.
terminate() {
  local found
  interrupted=true
  mapfile -t found < <(own_ranks)
  if [ ${#found[@]} -gt 0 ]; then kill -TERM "${found[@]}" 2>/dev/null || true
  else kill -INT "$mpirun" 2>/dev/null || true; fi
}
forward() {
  interrupted=true
  kill "-$1" "$mpirun" 2>/dev/null || true
}

# mpirun asks its other nodes whether they are still there; without that it waits for ever for one that is cut off.
alive=(--mca oob_tcp_keepalive_time 5 --mca oob_tcp_keepalive_intvl 2 --mca oob_tcp_keepalive_probes 2)

"${guard[@]}" mpirun --oversubscribe --bind-to none "${alive[@]}" -np "$ranks" "$program" "$@" <&0 &
mpirun=$!
trap terminate TERM
trap 'forward USR1' USR1
trap 'forward USR2' USR2
trap 'interrupted=true' INT  # Ctrl-C reaches mpirun by itself

# A signal ends bash's wait, but not mpirun.
code=127  # mpirun is not there
while interrupted=false; do
  status=0
  wait "$mpirun" || status=$?
  if [ $status != 127 ]; then code=$status; fi
  $interrupted || break
done
exit "$code"
