"""Small training runs on a Slurm of the test's own: queued as a user does it, watched, and their final weights compared with
those of a run that nothing happened to."""
import json
import pathlib
import subprocess
import sys
import tempfile
import time
import unittest

import h5py
import numpy as np

import cluster
from medfuse_cli import PROGRAM, ROOT, medfuse, small_tables, write_config

reason = cluster.missing()
if reason:
    print(f"skipped: {reason}")
    sys.exit(77)
cluster.own_network()

# Ranks of root, over loopback alone; two nodes of one rank each unless a test says otherwise.
ALWAYS = ["--interface", "lo", "--env", "OMPI_ALLOW_RUN_AS_ROOT=1", "--env", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1",
          "--env", "OMPI_MCA_mpi_yield_when_idle=1"]
MESH = ["--nodes", "2", "--tasks-per-node", "1"]
OVER = {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "PREEMPTED"}


class Job:
    """A queued run."""

    def __init__(self, number, run, slurm):
        self.number, self.run, self.slurm = number, run, slurm

    def known(self):
        """What Slurm knows of it: JobState, Restarts, ExitCode, NodeList, ..."""
        text = self.slurm.call("scontrol", "show", "job", "-o", self.number)
        return dict(word.split("=", 1) for word in text.split() if "=" in word)

    def state(self):
        return self.known()["JobState"]

    def nodes(self):
        return self.slurm.call("scontrol", "show", "hostnames", self.known()["NodeList"]).splitlines()

    def log(self):
        path = self.run / f"slurm-{self.number}.log"
        return path.read_text() if path.exists() else ""

    def steps_done(self):
        path = self.run / "metrics.jsonl"
        return path.read_text().count("\n") if path.exists() else 0

    def ranks(self):
        """Process ids of its ranks, as this process sees them."""
        found = []
        for folder in pathlib.Path("/proc").glob("[0-9]*"):
            try:
                words = (folder / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue  # gone meanwhile
            if words[:2] == [PROGRAM.encode(), b"train"] and str(self.run).encode() in words:
                found.append(int(folder.name))
        return found


class SlurmCase(unittest.TestCase):
    steps = {"encoders": 40, "fusion": 50}
    nodes = 3

    @classmethod
    def setUpClass(cls):
        scratch = tempfile.TemporaryDirectory(prefix="medfuse-slurm-")
        cls.addClassCleanup(scratch.cleanup)
        cls.path = pathlib.Path(scratch.name)
        # Double precision, so that runs on other meshes can be held to a narrow bound.
        cls.config = write_config(cls.path / "c.cfg", precision="f64", **{
            **{f"{stage}.steps": count for stage, count in cls.steps.items()}, "checkpoint.every": 20,
            "data.path": cls.path / "packed"})
        packed = medfuse("pack", "--config", cls.config, "--input", small_tables(cls.path / "tables"),
                         "--output", cls.path / "packed")
        assert packed.code == 0, packed.err
        cls.slurm = cluster.Cluster(cls.path / "cluster", cls.nodes)
        cls.addClassCleanup(cls.slurm.stop)
        cls.slurm.start()

    @classmethod
    def uninterrupted(cls):
        """Final tensors of a run of two ranks that nothing happened to; made once."""
        if not hasattr(cls, "reference"):
            done = medfuse("train", "--config", cls.config, "--run", cls.path / "reference", ranks=2)
            assert done.code == 0, done.err
            cls.reference = cls.final_tensors(cls.path / "reference")
        return cls.reference

    @classmethod
    def queue(cls, run, *words, training=(), mesh=MESH):
        """Has launch/submit.py queue a run in the folder of this name."""
        done = subprocess.run([str(word) for word in [
            ROOT / "launch" / "submit.py", "--config", cls.config, "--run", cls.path / run, "--program", PROGRAM, *ALWAYS,
            *mesh, *words, "--", *training]],
            env=cls.slurm.environment, cwd=ROOT, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return Job(done.stdout.strip(), cls.path / run, cls.slurm)

    def submit(self, *words, run=None, **more):
        """The same, named after the test unless told otherwise, and cancelled behind it."""
        job = self.queue(run or self.id().rpartition(".")[2], *words, **more)
        self.addCleanup(self.slurm.call, "scancel", job.number, check=False)
        return job

    @classmethod
    def until(cls, happened, what, seconds=90):
        """Waits for `happened()` to be true, and hands that back."""
        end = time.monotonic() + seconds
        while not (value := happened()):
            if time.monotonic() > end:
                raise AssertionError(f"{what}: not within {seconds} s\n{cls.slurm.call('squeue', check=False)}\n"
                                     f"{cls.slurm.logs()}")
            time.sleep(0.05)
        return value

    @classmethod
    def reached(cls, job, step):
        """Waits until a running job has done `step` steps in all."""
        def there():
            done, state = job.steps_done(), job.state()
            if state in OVER:
                raise AssertionError(f"job {job.number} is {state} at step {done}: {job.log()}")
            return done >= step
        cls.until(there, f"step {step} of job {job.number}")

    def ended(self, job, state="COMPLETED", restarts=0, code="0:0", seconds=90):
        """Waits for the job's end; its log."""
        known = self.until(lambda: (k := job.known())["JobState"] in OVER and k, f"the end of job {job.number}", seconds)
        self.assertEqual((known["JobState"], known["Restarts"], known["ExitCode"]), (state, str(restarts), code), job.log())
        return job.log()

    def assert_equal_uninterrupted(self, job):
        """Every tensor of the last checkpoint bit for bit, and every step once in metrics.jsonl."""
        self.compare(job, lambda a, b, _: a.tobytes() == b.tobytes())

    def assert_close_to_uninterrupted(self, job):
        self.compare(job, lambda a, b, rate: np.abs(a.astype(float) - b.astype(float)).max(initial=0) <=
                     1e-8 * max(np.abs(b.astype(float)).max(initial=0), rate))

    def compare(self, job, same):
        ours, theirs = self.final_tensors(job.run), self.uninterrupted()
        self.assertEqual(sorted(ours), sorted(theirs))
        different = [name for name in theirs if ours[name].shape != theirs[name].shape or
                     not same(ours[name], theirs[name], 2e-4)]
        self.assertEqual(different, [], f"of {len(theirs)}")
        rows = [json.loads(row) for row in (job.run / "metrics.jsonl").read_text().splitlines()]
        self.assertEqual([(row["stage"], row["step"]) for row in rows],
                         [(stage, step + 1) for stage, count in self.steps.items() for step in range(count)])

    @classmethod
    def final_tensors(cls, run):
        """Tensors of the newest checkpoint, which must be that of the last step, put together from their shards
        (docs/format-checkpoints.md)."""
        folder = max((run / "checkpoints").glob("step-*"))
        manifest = json.loads((folder / "manifest.json").read_text())
        assert manifest["step"] == sum(cls.steps.values()), manifest["step"]
        files = [h5py.File(folder / row["name"]) for row in manifest["files"]]
        tensors = {}
        for tensor in manifest["tensors"]:
            parts = [(shard, files[shard["file"]][shard["dataset"]][()]) for shard in tensor["shards"]]
            whole = np.zeros(tensor["shape"], dtype=parts[0][1].dtype if parts else float)
            for shard, part in parts:
                whole[tuple(slice(o, o + e) for o, e in zip(shard["offset"], shard["extent"]))] = part
            tensors[tensor["name"]] = whole
        for file in files:
            file.close()
        return tensors
