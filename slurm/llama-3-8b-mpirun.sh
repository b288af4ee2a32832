#!/usr/bin/env bash
# Written by the command below, which queues it; with --dry-run it prints this file. To change something,
# give that command other options.
#   launch/submit.py --config configs/llama-3-8b.cfg --run runs/llama-3-8b --launcher mpirun --gpus-per-node 8 \
#     --cpus-per-task 8 --mem 0 --time 24:00:00
#SBATCH --job-name=llama-3-8b
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=8
#SBATCH --cpus-per-task=8
#SBATCH --gpus-per-node=8
#SBATCH --mem=0
#SBATCH --time=24:00:00
#SBATCH --output=runs/llama-3-8b/slurm-%j.log
#SBATCH --open-mode=append
#SBATCH --signal=B:USR1@180
#SBATCH --requeue
set -euo pipefail
export OMP_NUM_THREADS="${SLURM_CPUS_PER_TASK:-1}"
export NCCL_DEBUG=WARN

run=runs/llama-3-8b
command=(build/launch/medfuse train --config configs/llama-3-8b.cfg --run runs/llama-3-8b --device cuda)
launcher=mpirun
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
