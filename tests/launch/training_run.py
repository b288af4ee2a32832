"""Training runs under way and what they leave: the program started in the background, its processes, its metrics and
checkpoints, and whether two runs are the same one to the bit."""
import json
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import time
import unittest

import h5py

from medfuse_cli import ROOT, medfuse, small_tables, write_config


def metrics(run):
    path = run / "metrics.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def checkpoints(run):
    return sorted((run / "checkpoints").glob("step-*"))


def tensors(checkpoint):
    """All of a checkpoint that one rank or several wrote, by dataset name (which has the offset of parts)."""
    found = {}
    for path in sorted(checkpoint.glob("*.h5")):
        with h5py.File(path) as file:
            file.visititems(lambda name, item: found.update({name: item[...]}) if isinstance(item, h5py.Dataset) else None)
    return found


class Job:
    """A training run under way, in a process group of its own."""

    def __init__(self, command, log, environment):
        self.log = log
        with open(log, "wb") as out:
            self.process = subprocess.Popen(list(map(str, command)), env=environment, cwd=ROOT, stdout=out, stderr=out,
                                            stdin=subprocess.DEVNULL, start_new_session=True)

    def text(self):
        return self.log.read_text(errors="replace")

    def until(self, condition, what):
        end = time.monotonic() + 120
        while not condition():
            if self.process.poll() is not None:
                raise AssertionError(f"ended with {self.process.returncode} before {what}:\n{self.text()}")
            if time.monotonic() > end:
                raise AssertionError(f"no {what}:\n{self.text()}")
            time.sleep(0.01)

    def descendants(self):
        """Pids and names of the processes below, from the launcher down."""
        parents = {}
        for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
            try:
                name, rest = stat.read_text().split("(", 1)[1].rsplit(")", 1)
            except OSError:
                continue  # gone meanwhile
            parents[int(stat.parent.name)] = (int(rest.split()[1]), name)
        below, found = {self.process.pid}, []
        while True:
            more = [(pid, name) for pid, (parent, name) in parents.items() if parent in below and pid not in below]
            if not more:
                return found
            found += more
            below.update(pid for pid, _ in more)

    def pids(self, name):
        return [pid for pid, other in self.descendants() if other == name]

    def wait(self):
        return self.process.wait(timeout=120)

    def end(self):
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


def rank_of(pid):
    variables = pathlib.Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    return next(int(v.split(b"=")[1]) for v in variables if v.startswith(b"OMPI_COMM_WORLD_RANK="))


def running(pids):
    """Those that are not gone. What nobody has asked for its exit code is still in the table, as a zombie."""
    found = []
    for pid in pids:
        try:
            state = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        except OSError:
            continue
        if state != "Z":
            found.append(pid)
    return found


def pack_small(path, **settings):
    """Writes small.cfg with these settings below the path, packs the small sample for it, and returns both paths."""
    config, packed = write_config(path / "small.cfg", **settings), path / "packed"
    done = medfuse("pack", "--config", config, "--input", small_tables(path / "tables"), "--output", packed)
    assert done.code == 0, done.err
    return config, packed


def cut_back(whole, run, step):
    """Copies a run to how it was behind the checkpoint of this step."""
    shutil.copytree(whole, run)
    for path in checkpoints(run):
        if path.name > f"step-{step:09d}":
            shutil.rmtree(path)
    lines = (run / "metrics.jsonl").read_text().splitlines(keepends=True)
    (run / "metrics.jsonl").write_text("".join(lines[:step]))


class RunCase(unittest.TestCase):
    """Tests of training runs on the small sample, packed in a folder of the class; `settings` are those of its configuration."""
    settings = {}

    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.path = pathlib.Path(folder.name)
        cls.config, cls.packed = pack_small(cls.path, **cls.settings)

    @classmethod
    def training(cls, run, *more):
        """What the program is told to train this run."""
        return ["train", "--config", cls.config, "--data.path", cls.packed, "--run", run, *more]

    @classmethod
    def undisturbed(cls, name, *more, ranks, environment=None):
        """The folder of a run of this name that is trained to its end."""
        run = cls.path / name
        done = medfuse(*cls.training(run, *more), ranks=ranks, environment=environment)
        assert done.code == 0, done.err
        return run

    def assert_same_run(self, run, whole):
        """The run has done the steps of the whole one, each once and with its loss, and ends with its very checkpoint."""
        steps = lambda folder: [(line["stage"], line["step"], line["loss"]) for line in metrics(folder)]
        self.assertEqual(steps(run), steps(whole))
        ours, theirs = tensors(checkpoints(run)[-1]), tensors(checkpoints(whole)[-1])
        self.assertGreater(len(theirs), 20)
        self.assertEqual(ours.keys(), theirs.keys())
        for name, value in theirs.items():
            self.assertEqual(ours[name].tobytes(), value.tobytes(), name)
        verified = medfuse("checkpoint", "verify", "--run", run)
        self.assertEqual(verified.code, 0, verified.out)

    def assert_one_line(self, result, *words, code=3):
        """Refused with this code and one line, besides warnings, with these words; returns it."""
        self.assertEqual(result.code, code, result.err)
        lines = [line for line in result.errors if not line.startswith("medfuse: warning: ")]
        self.assertEqual(len(lines), 1, result.err)
        for word in words:
            self.assertIn(str(word), lines[0])
        return lines[0]
