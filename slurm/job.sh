# What every training job does on its first node, whatever launches its ranks: check, stage, run, pass on signals, decide
# whether to start again. Sourced by the scripts that launch/submit.py writes, which set
#   run               run folder
#   command           array: the program and its arguments
#   launcher          srun or mpirun
#   launcher_options  array: more words for it
#   tasks_per_node    ranks on a node
#   stop_signal       what ranks get when the job is to stop with a checkpoint
#   requeue_limit     how often a job may start again, for whatever reason
#   failure_limit     how often in a row it may fail without a new checkpoint
#   data, stage       packed data, and the node-local folder that they are copied to; stage is empty: they are read in place
# shellcheck shell=bash disable=SC2154

# A log that cannot be written to is no reason to give up.
say() { printf 'job: %s\n' "$*" >&2 || true; }
die() { printf 'job: error: %s\n' "${*:2}" >&2 || true; exit "$1"; }

# What this script exports is for the ranks, also where sbatch was told to take nothing along (SBATCH_EXPORT=NONE).
export SLURM_EXPORT_ENV=ALL

restarts=${SLURM_RESTART_COUNT:-0}
child=            # the launcher, or what copies the data
listener=         # see listen
keeper=           # the step that removes the nodes' copies
asked_to_stop=    # the first signal that came
passed_on=-9      # when one was passed on last, in $SECONDS

# A step that takes nothing from the ranks: what the job asked for is in the environment, and srun would ask for it again.
side_step=(env -u SLURM_GPUS -u SLURM_GPUS_PER_NODE -u SLURM_GPUS_PER_TASK -u SLURM_GPUS_PER_SOCKET -u SLURM_NTASKS_PER_GPU
           srun --mpi=none --overlap --cpus-per-task=1)
on_each_node=("${side_step[@]}" --nodes="$SLURM_JOB_NUM_NODES" --ntasks="$SLURM_JOB_NUM_NODES" --ntasks-per-node=1)

run_job() {
  local name
  for name in USR1 USR2 TERM; do
    # shellcheck disable=SC2064
    trap "pass_on $name" "$name"
  done
  [ -x "${command[0]}" ] ||
    die 2 "${command[0]}: no such program: build it (launch/build.sh), and submit from the checkout's folder"
  say "$SLURM_JOB_ID, start $((restarts + 1)) of at most $((requeue_limit + 1)), $SLURM_JOB_NUM_NODES nodes" \
    "($SLURM_JOB_NODELIST) of $tasks_per_node ranks with $launcher"
  # Slurm restarts a job by itself after a preemption or a node's death, and knows nothing of our bound.
  [ "$restarts" -le "$requeue_limit" ] ||
    die 4 "started again $restarts times, more than $requeue_limit: submit it anew to go on"

  local before code=0
  before=$(complete_checkpoints)
  if [ -n "$stage" ]; then stage_data; fi
  if [ "$code" = 0 ] && [ -n "$asked_to_stop" ]; then code=85; fi
  if [ "$code" = 0 ]; then launch; fi
  if [ "$code" = 3 ] && keeper_was_told; then code=85; fi
  unstage_data  # before the job is given back: Slurm ends this script as soon as it is
  decide "$code" "$before"
  exit "$code"
}

# Starts the ranks and waits for them.
launch() {
  local start guard=(env --block-signal=TERM)
  if [ "$launcher" = srun ]; then
    # srun does not take the tasks' CPUs from the job (since Slurm 22.05). Ranks that end in good order may end one after
    # another, so the first one's exit code must not get the others killed.
    start=(srun --mpi=pmix --cpus-per-task="${SLURM_CPUS_PER_TASK:-1}" --kill-on-bad-exit=0)
  else
    # Without keepalives mpirun never notices that a node has gone. On SIGTERM, which Slurm sends to all processes alike,
    # mpirun and its daemons would kill the ranks, which need the time for a checkpoint.
    "${guard[@]}" true 2>/dev/null || guard=()  # older than coreutils 8.31
    start=("${guard[@]}" mpirun --map-by "ppr:$tasks_per_node:node" --bind-to none --mca oob_tcp_keepalive_time 5
           --mca oob_tcp_keepalive_intvl 2 --mca oob_tcp_keepalive_probes 2)
    [ ${#guard[@]} = 0 ] || start+=(--mca orte_launch_agent "${guard[*]} orted")
    listen &
    listener=$!
  fi
  attend "${start[@]}" "${launcher_options[@]}" "${command[@]}"
  [ -z "$listener" ] || kill "$listener" 2>/dev/null || true
}

# Starts a command, to which signals are passed on, and waits for its end; $code is what it returned.
attend() {
  "$@" &
  child=$!
  [ -z "$asked_to_stop" ] || pass_on "$asked_to_stop"  # which came just before
  # A signal ends the waiting, not the command.
  while true; do
    interrupted=
    code=0
    wait "$child" || code=$?
    [ -n "$interrupted" ] || break
  done
  child=
}

# Slurm's signals (scancel --signal, preemption with a grace time) go to the steps of a job, and mpirun's ranks on this node
# are none. So a step of one process waits for them.
listen() {
  local step
  "${side_step[@]}" --nodes=1 --nodelist="$SLURMD_NODENAME" --ntasks=1 --quiet \
    bash -c 'trap "exit 99" USR1 USR2 TERM; while true; do sleep 1; done' 2>/dev/null &
  step=$!
  trap 'kill "$step" 2>/dev/null; exit' TERM
  wait "$step" || [ $? != 99 ] || kill -s USR1 $$
}

# Both launchers hand USR1 and USR2 to all ranks. The same wish may come by several ways, and ranks that are told again and
# again would not wait for the checkpoint.
pass_on() {
  interrupted=1
  asked_to_stop=${asked_to_stop:-$1}
  [ -n "$child" ] || { say "got SIG$1"; return; }
  [ $((SECONDS - passed_on)) -ge 5 ] || return 0
  passed_on=$SECONDS
  say "got SIG$1: passed on as SIG$stop_signal"
  kill -s "$stop_signal" "$child" 2>/dev/null || true
}

# decide CODE CHECKPOINTS_BEFORE: gives the job back to the queue if starting again may help.
decide() {
  local code=$1 before=$2 failures=0 kept=$run/slurm-failures
  case $code in
    0) say "done"; return ;;
    # 1: a launcher that lost a node or the controller at its start, a GPU that failed; a fault of the program, too
    1 | 4 | 85) ;;
    *) [ "$code" -ge 128 ] || { say "exit code $code: starting again would not help"; return; } ;;
  esac
  if [ "$code" != 85 ] && [ -z "$asked_to_stop" ] && [ "$(complete_checkpoints)" = "$before" ]; then
    [ "$restarts" = 0 ] || failures=$(cat "$kept" 2>/dev/null || echo 0)  # else it is of a job before this one
    failures=$((failures + 1))
  fi
  printf '%s\n' "$failures" >"$kept" || say "$kept: cannot be written: failures are not counted"
  if [ "$failures" -ge "$failure_limit" ]; then
    rm -f "$kept" || true  # whoever submits it anew has a reason to
    say "exit code $code: failed $failures times in a row without a new checkpoint: not started again"
  else
    give_back "$code"
  fi
}

# give_back CODE: to the queue, unless somebody else decides on this job. A cancelled one must not come back, and Slurm
# requeues preempted ones itself; but one that reached its time limit is over unless it is requeued. The controller may be
# away, for an update say: it is asked for ten minutes. What it refuses a few times it will not grant.
give_back() {
  local tries refusals=0
  for tries in {1..40}; do
    [ "$tries" = 1 ] || sleep 15
    case $(squeue -h -j "$SLURM_JOB_ID" -o '%T %r') in
      RUNNING* | *TimeLimit)
        if [ "$restarts" -ge "$requeue_limit" ]; then
          say "exit code $1: started again $restarts times, which is the limit: submit it anew to go on"
          return
        fi
        if scontrol requeue "$SLURM_JOB_ID"; then
          say "exit code $1: back in the queue"
          return
        fi
        [ $((refusals += 1)) -lt 4 ] || break
        ;;
      '') say "Slurm does not answer" ;;
      *)
        say "exit code $1: Slurm is ending this job (cancelled, preempted, or a node died): the rest is up to Slurm"
        return
        ;;
    esac
  done
  say "exit code $1: Slurm did not take the job back into the queue: submit it anew to go on"
}

complete_checkpoints() {
  local name
  for name in "$run"/checkpoints/step-*; do
    [ ! -e "$name/manifest.json" ] || printf '%s ' "${name##*/}"
  done
}

# Sets $code if the ranks cannot be started, or shall not.
stage_data() {
  local name=medfuse-$SLURM_JOB_ID version
  version=$(srun --version)
  [ "$(printf '22.05\n%s\n' "${version##* }" | sort -V | head -n 1)" = 22.05 ] ||
    die 2 "staging needs Slurm 22.05 or newer, this is $version: a small step would keep the ranks from a node's CPUs"
  "${on_each_node[@]}" bash slurm/stage.sh keep "$stage" "$name" &
  keeper=$!
  trap unstage_data EXIT
  attend "${on_each_node[@]}" bash slurm/stage.sh copy "$data" "$stage" "$name"
  case $code in
    0) ;;
    3) die 3 "$data: could not be copied to $stage on every node: see above" ;;
    85) say "told to stop while $data was copied"; return ;;
    *) say "$data: not copied: the copy ended with $code"; return ;;
  esac
  say "$data is in ${stage%/}/$name on every node"
  command+=(--data.path "${stage%/}/$name")
}

# Whether the step that removes the copies was told to by Slurm: then ranks that were about to start found no data. It may yet
# be removing.
keeper_was_told() {
  local tries
  [ -n "$keeper" ] || return 1
  for tries in {1..20}; do
    kill -0 "$keeper" 2>/dev/null || { wait "$keeper"; return; }
    sleep 0.5
  done
  return 1
}

unstage_data() {
  trap - EXIT
  [ -n "$keeper" ] || return 0
  trap '' USR1 USR2 TERM  # the ranks are gone; a signal would only end the waiting
  kill -s USR1 "$keeper" 2>/dev/null || true
  wait "$keeper" || say "${stage%/}/medfuse-$SLURM_JOB_ID may be left on a node: it holds patient data"
}
