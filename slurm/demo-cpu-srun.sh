#!/usr/bin/env bash
# Written by the command below, which queues it; with --dry-run it prints this file. To change something,
# give that command other options.
#   launch/submit.py --config configs/demo.cfg --run runs/demo --launcher srun --nodes 2 --tasks-per-node 8 \
#     --time 1:00:00 -- --data.path runs/demo/packed
#SBATCH --job-name=demo
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=8
#SBATCH --cpus-per-task=1
#SBATCH --time=1:00:00
#SBATCH --output=runs/demo/slurm-%j.log
#SBATCH --open-mode=append
#SBATCH --signal=B:USR1@180
#SBATCH --requeue
set -euo pipefail
export OMP_NUM_THREADS="${SLURM_CPUS_PER_TASK:-1}"

run=runs/demo
command=(build/launch/medfuse train --config configs/demo.cfg --run runs/demo --data.path runs/demo/packed --device cpu)
launcher=srun
launcher_options=()
tasks_per_node=8
stop_signal=USR1
requeue_limit=20
failure_limit=3
data=
stage=

[ -e slurm/job.sh ] ||
  { echo "job: error: $PWD is not medfuse's checkout: submit from there" >&2; exit 2; }
# shellcheck source=slurm/job.sh
source slurm/job.sh
run_job
