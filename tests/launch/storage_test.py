"""Storage that fails under a launched job: a disk that is full or becomes read-only, and calls that fail on one rank. Each time
all ranks end in time with one line and exit code 3, every checkpoint that was complete is sound, and once the cause is gone the
same command ends with the very weights of a run to which nothing happened. MEDFUSE_EVERY_FAULT=1: each kind of call of a save
fails, or the rank dies of it, in turn, on each rank (many minutes)."""
import os
import shutil
import subprocess
import time
import unittest

from medfuse_cli import medfuse
from training_run import RunCase, checkpoints, cut_back, metrics

SHIM = os.environ["MEDFUSE_FAULT_SHIM"]
RANKS = 3
STEPS = 6   # of each stage
SAVED = 9   # a step in the middle of the second stage
BOUND = 60  # seconds for a job that fails: far below what a rank that waits for another would be allowed
PAGE = 4096


class Disk:
    """A small file system of its own."""

    def __init__(self, test, path, size):
        path.mkdir()
        made = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=0700", "medfuse-test", path],
                              capture_output=True, text=True)
        if made.returncode != 0:
            test.skipTest(f"no tmpfs can be mounted here, which needs root: {made.stderr.strip()}")
        test.addCleanup(lambda: subprocess.run(["umount", path], check=True))
        self.path = path

    def change(self, options):
        subprocess.run(["mount", "-o", f"remount,{options}", self.path], check=True)

    def fill(self):
        """To the last byte."""
        with open(self.path / "ballast", "wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(PAGE))
            except OSError:
                pass


def space(folder):
    """Bytes that its files take where there are pages of them only."""
    return sum(-(-path.stat().st_size // PAGE) * PAGE for path in folder.rglob("*") if path.is_file())


class Storage(RunCase):
    settings = {"encoders.steps": STEPS, "fusion.steps": STEPS, "checkpoint.every": 3, "checkpoint.keep": 10}

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        log = cls.path / "calls"
        cls.whole = cls.undisturbed("whole", ranks=RANKS, environment=cls.fault("count:0", "/.step-", log=log))
        cls.calls = cls.read_calls(log)

    @classmethod
    def train(cls, run, *more, fault=None):
        return medfuse(*cls.training(run, *more), ranks=RANKS, environment=fault, timeout=BOUND)

    @staticmethod
    def read_calls(log):
        """Names and paths."""
        return [line.split(" ", 2)[1:] for line in log.read_text().splitlines()]

    @staticmethod
    def fault(kind, path, rank=None, log="/dev/null"):
        rank = {} if rank is None else {"MEDFUSE_FAULT_RANK": str(rank)}
        return {"LD_PRELOAD": SHIM, "MEDFUSE_FAULT": kind, "MEDFUSE_FAULT_PATH": str(path), "MEDFUSE_FAULT_LOG": str(log),
                **rank}

    def ends_with_one_line(self, result, *words):
        line = self.assert_one_line(result, *words)
        self.assertNotIn("internal error", line)
        self.assertRegex(line, "; .*(run|restore|delete|move|give|make)", "what to do?")
        return line

    def holds(self, run, *steps):
        """These checkpoints, whole, and no trace of another."""
        self.assertEqual([path.name for path in checkpoints(run)], [f"step-{step:09d}" for step in steps])
        if steps:
            verified = medfuse("checkpoint", "verify", "--run", run)
            self.assertEqual(verified.code, 0, verified.out)
        self.assertEqual(list((run / "checkpoints").glob(".*")), [])

    def ends_as_if_nothing_had_been(self, run):
        done = self.train(run)
        self.assertEqual(done.code, 0, done.err)
        self.assert_same_run(run, self.whole)
        self.holds(run, 3, 6, 9, 12)

    def test_a_full_disk(self):
        saved = {step: space(self.whole / "checkpoints" / f"step-{step:09d}") for step in (3, 6, 9)}
        # Two and a half checkpoints.
        disk = Disk(self, self.path / "small", saved[3] + saved[6] + saved[9] // 2)
        run = disk.path / "run"
        for again in (False, True):
            result = self.train(run)
            line = self.ends_with_one_line(result, f"/.step-{SAVED:09d}.partial/rank-0000")
            self.assertRegex(line, "No space left on device|the disk may be full")
            self.assertEqual("continuing behind step 6" in result.err, again, result.err)
            self.holds(run, 3, 6)
        disk.fill()
        self.ends_with_one_line(self.train(run), run, "No space left on device")
        self.holds(run, 3, 6)
        (disk.path / "ballast").unlink()
        disk.change("size=1g")
        self.ends_as_if_nothing_had_been(run)

    def test_an_old_checkpoint_that_cannot_be_deleted(self):
        """As over NFS while somebody reads it: space is lost, and said so, but no run."""
        run, kept = self.path / "undeletable", ["--checkpoint.keep", 2]
        done = self.train(run, *kept, fault=self.fault("all-EIO:1", ".removed/"))
        self.assertEqual(done.code, 0, done.err)
        warned = [line for line in done.err.splitlines() if "warning: " in line and "cannot delete" in line]
        self.assertEqual(len(warned), 2, done.err)  # at steps 9 and 12
        self.assertIn(".step-000000003.removed", warned[0])
        self.assertEqual([path.name for path in checkpoints(run)], ["step-000000009", "step-000000012"])
        self.assertEqual(len(list((run / "checkpoints").glob(".*.removed"))), 2)
        # The next save that can deletes them.
        shutil.rmtree(checkpoints(run)[-1])
        self.assertEqual(self.train(run, *kept).code, 0)
        self.assert_same_run(run, self.whole)
        self.holds(run, 9, 12)

    def test_a_read_only_folder(self):
        disk = Disk(self, self.path / "fixed", "1g")
        run, scores = disk.path / "run", self.path / "scores.csv"
        self.ends_with_one_line_where_nothing_can_be_made(disk, run)
        cut_back(self.whole, run, SAVED)
        disk.change("ro")
        self.ends_with_one_line(self.train(run), run, "Read-only file system")
        self.ends_with_one_line(medfuse("evaluate", "--run", run, timeout=BOUND), run, "Read-only file system")
        predicted = medfuse("predict", "--run", run, "--data", self.packed, "--output", scores)  # which writes elsewhere
        self.assertEqual(predicted.code, 0, predicted.err)
        self.assertGreater(len(scores.read_text().splitlines()), 1)
        self.holds(run, 3, 6, 9)
        disk.change("rw")
        self.ends_as_if_nothing_had_been(run)

    def ends_with_one_line_where_nothing_can_be_made(self, disk, run):
        disk.change("ro")
        self.ends_with_one_line(self.train(run), run, "Read-only file system")
        disk.change("rw")

    def last(self, name, part):
        """The number of the last call of this name among those for this file: of several writes, one of tensors."""
        return max(i for i, call in enumerate((name for name, path in self.calls if path.endswith(part)), 1) if call == name)

    def test_calls_that_fail_on_one_rank(self):
        """One after the other in one run, so each start also continues what the failure before it left."""
        run = self.path / "failing"

        def fails(kind, path, rank, *options, words=()):
            result = self.train(run, *options, fault=self.fault(kind, path, rank))
            return self.ends_with_one_line(result, "Read-only file system" if "EROFS" in kind else "Input/output error", *words)

        def part_fails(call, step, rank, *options):
            part = f"/.step-{step:09d}.partial/rank-{rank:05d}.h5"
            fails(f"EIO:{self.last(call, part)}", part, rank, *options, words=[f"rank {rank}: ", part])

        fails("EIO:2", "/metrics.jsonl", 0, words=[run / "metrics.jsonl"])  # the first is to open it
        self.assertEqual(metrics(run), [])
        self.holds(run)
        part_fails("fallocate", 3, 1)
        self.holds(run)
        part_fails("fsync", 6, 2, "--checkpoint.background", "no")
        self.holds(run, 3)
        fails("EIO:1", "/.step-000000006.partial/manifest.json", 0, words=["manifest.json"])
        self.holds(run, 3)
        fails("EIO:1", "/checkpoints/step-000000009", 0, words=["step-000000009"])  # the last rename
        self.holds(run, 3, 6)
        fails("all-EROFS:1", "/.step-000000009.partial/rank-", None, words=["rank 0: "])  # on all alike
        self.holds(run, 3, 6)
        part_fails("pwrite", 12, 1)  # behind the last step
        self.holds(run, 3, 6, 9)
        self.ends_as_if_nothing_had_been(run)

    @unittest.skipUnless("MEDFUSE_EVERY_FAULT" in os.environ, "takes many minutes: MEDFUSE_EVERY_FAULT=1")
    def test_each_kind_of_call_of_a_save(self):
        """It fails, the rank is killed in its place, or half-way through if it writes. The first and the last of each row of
        equal calls; tests/src/checkpoint/fault_test.cpp has all."""
        struck, ended, begin = {"EIO": 0, "kill": 0, "torn": 0}, 0, time.monotonic()
        for rank in range(RANKS):
            for number, name, path in self.calls_of_one_save(rank):
                for kind in ("EIO", "kill", "torn") if "write" in name else ("EIO", "kill"):
                    run = self.path / f"rank-{rank}-call-{number}-{kind}"
                    cut_back(self.whole, run, 6)
                    result = self.train(run, fault=self.fault(f"{kind}:{number}", "/checkpoints", rank))
                    with self.subTest(kind=kind, rank=rank, call=name, path=path):
                        struck[kind] += 1
                        if kind != "EIO":
                            self.assertEqual(result.code, 137, result.err)
                        elif result.code != 0:  # what fails behind the new name is no reason to stop
                            ended += 1
                            self.ends_with_one_line(result, "/checkpoints")
                        self.assertIn(f"step-{6:09d}", [path.name for path in checkpoints(run)])
                        self.ends_as_if_nothing_had_been(run)
                    shutil.rmtree(run)
        print(f"struck: {struck}; {ended} of the calls that failed ended the job; {time.monotonic() - begin:.0f} s")
        self.assertGreater(ended, struck["EIO"] // 2)
        self.assertGreater(struck["torn"], 0)

    def calls_of_one_save(self, rank):
        """Number, name and path of each that this rank makes for one step, without those between two equal ones."""
        run, log = self.path / f"calls-of-{rank}", self.path / f"calls-{rank}"
        cut_back(self.whole, run, 6)
        done = self.train(run, fault=self.fault("count:0", "/checkpoints", rank, log))
        self.assertEqual(done.code, 0, done.err)
        calls = self.read_calls(log)
        calls = calls[:next(i for i, (_, path) in enumerate(calls) if "step-000000012" in path)]
        self.assertGreater(len(calls), 100)
        return [(number, name, path) for number, (name, path) in enumerate(calls, 1)
                if not ([name, path] in calls[number - 2:number - 1] and [name, path] in calls[number:number + 1])]


if __name__ == "__main__":
    unittest.main()
