#!/usr/bin/env python3
"""Queues a training run in Slurm: writes the batch script from options, has medfuse judge the configuration, calls sbatch.

  launch/submit.py --config configs/demo.cfg --run runs/demo --nodes 2 --tasks-per-node 4 --time 2:00:00 -- --batch 64

What stands behind -- goes to medfuse train. Jobs run in the checkout's folder, and relative paths start there. Exit codes:
0 queued; 2 wrong options or configuration, or refused by sbatch; 3 data or weights missing. More: docs/slurm.md.
"""
import pathlib
import re
import shutil
import subprocess
import sys

from slurm_job import Refusal
from slurm_job.options import parser
from slurm_job.script import batch_script
from slurm_job.training import find, look_for_inputs, plan, read_config, without

ROOT = pathlib.Path(__file__).resolve().parent.parent


def say(text):
    print(f"submit: {text}", file=sys.stderr)


def complete(o, training):
    """Fills in what hangs on other options, and refuses what cannot go together. `training`: the words behind --, whose
    completed form it returns."""
    if o.tasks_per_node is None:
        o.tasks_per_node = max(o.gpus_per_node, 1)
    if o.gpus_per_node and o.tasks_per_node > o.gpus_per_node:
        raise Refusal(2, f"--tasks-per-node {o.tasks_per_node}: more ranks than the node's {o.gpus_per_node} GPUs, and NCCL "
                         "wants one each")
    for option in ("gpu_type", "ib_hca"):
        if getattr(o, option) and not o.gpus_per_node:
            raise Refusal(2, f"--{option.replace('_', '-')}: is for jobs with --gpus-per-node")
    for words in o.sbatch:
        if re.match(r"--array\b|-a", words):
            raise Refusal(2, f"--sbatch={words}: all jobs of an array would train in one run folder: submit one for each --run")
    for key in ("config", "run"):
        if find(training, key) is not None:
            raise Refusal(2, f"--{key} behind --: give it before, the job itself needs it")
    o.job_name = o.job_name or pathlib.PurePath(o.run).name
    config = read_config(ROOT, o.config)
    o.data = find(training, "data.path") or config.get("data.path")
    o.model = find(training, "text.model") or config.get("text.model")
    if not o.data:
        raise Refusal(2, f"--config {o.config}: has no data.path, and there is none behind --: where are the packed data?")
    signals, warning = find(training, "stop.signals") or config.get("stop.signals"), o.signal.split("@")[0]
    if signals is not None and warning not in [name.removeprefix("SIG") for name in re.split(r"[,\s]+", signals)]:
        raise Refusal(2, f"--signal {o.signal}: the ranks would die of {warning}, which is not in stop.signals ({signals}): name it "
                         "there, or give another --signal")
    if o.stage:
        training = without(training, "data.path")  # slurm/job.sh names the copy
    if find(training, "device") is None and "device" not in config:
        # So that ranks that find no GPU end the job instead of training on the CPU.
        training = [*training, "--device", "cuda" if o.gpus_per_node else "cpu"]
    return training


def check(o, training):
    try:
        for text in plan(ROOT, o, without(training, "data.path")):
            say(f"checked: {text}")
        if not o.dry_run:
            look_for_inputs(ROOT, o.data, o.model)
    except Refusal as refusal:
        if not o.dry_run or refusal.code != 3:
            raise
        say(f"not checked: {refusal}")  # a script may be written where weights and data are not


def queue(o, script):
    if not shutil.which("sbatch"):
        raise Refusal(2, "sbatch is not on PATH: submit on a login node of the cluster, or see the script with --dry-run")
    run = ROOT / o.run
    try:
        run.mkdir(mode=0o700, parents=True, exist_ok=True)  # Slurm drops a job whose log it cannot open
        (run / "job.sh").write_text(script)
    except OSError as error:
        raise Refusal(3, f"--run {o.run}: {error.strerror}: {error.filename}")
    done = subprocess.run(["sbatch", "--parsable", str(run / "job.sh")], cwd=ROOT, capture_output=True, text=True)
    if done.returncode != 0:
        raise Refusal(2, " / ".join(done.stderr.strip().splitlines()))
    return done.stdout.strip().split(";")[0]


def main(given):
    split = given.index("--") if "--" in given else len(given)
    o = parser(__doc__).parse_args(given[:split])
    training = complete(o, given[split + 1:])
    script = batch_script(o, [o.program, "train", "--config", o.config, "--run", o.run, *training], given)
    if o.no_check:
        say("not checked: --no-check")
    else:
        check(o, training)
    if o.dry_run:
        print(script, end="")
        return 0
    job = queue(o, script)
    say(f"job {job} is in the queue; its log: {o.run}/slurm-{job}.log, its script: {o.run}/job.sh")
    print(job)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except Refusal as refusal:
        print(f"submit: error: {refusal}", file=sys.stderr)
        sys.exit(refusal.code)
