"""Storage that is slow rather than broken: a save may take longer than a step as long as it is within timeout.save, and the
job that waits longer ends with code 4 and a line that names the rank whose storage hangs. And steps: one that has been long
teaches timeout.step that it may be so again."""
import os
import re
import socket
import time
import unittest

from medfuse_cli import medfuse
from training_run import RunCase, checkpoints, metrics

RANKS = 2
STEP = 3      # seconds allowed: what a loaded machine needs for one, and more
SLOW = 1.5 * STEP
HANGS = 60    # seconds, of which the job shall not see the end


class Slow(RunCase):
    settings = {"encoders.steps": 4, "fusion.steps": 2, "checkpoint.every": 3}

    def train(self, run, *more, fault="count:0", path="", rank=0):
        begin = time.monotonic()
        environment = {"LD_PRELOAD": os.environ["MEDFUSE_FAULT_SHIM"], "MEDFUSE_FAULT": fault, "MEDFUSE_FAULT_PATH": str(path),
                       "MEDFUSE_FAULT_RANK": str(rank)}
        done = medfuse(*self.training(run, "--timeout.step", STEP, *more), ranks=RANKS, timeout=120, environment=environment)
        return done, time.monotonic() - begin

    def ends_with_a_line(self, done, rank, what, option):
        self.assertEqual(done.code, 4, done.err)
        self.assertEqual(len(done.errors), 1, done.err)
        culprit = f"medfuse: rank {rank} on {socket.gethostname()} answers and waits for no other rank, in {what} for "
        self.assertTrue(done.errors[0].startswith(culprit), done.errors[0])
        self.assertIn(f"({option})", done.errors[0])
        return float(re.search(r"allowed are ([\d.]+) s", done.errors[0])[1])

    def test_a_slow_save_is_spared_in_its_time_and_no_longer(self):
        run, part = self.path / "slow-save", "/.step-000000003.partial/rank-00001.h5"
        waited = ["--checkpoint.background", "no"]
        done, seconds = self.train(run, *waited, "--timeout.save", STEP, fault=f"sleep-{1000 * HANGS}:1", path=part, rank=1)
        self.assertEqual(self.ends_with_a_line(done, 1, "saving step 3", "timeout.save"), STEP)
        self.assertLess(seconds, HANGS)
        self.assertEqual(len(metrics(run)), 3)
        self.assertEqual(checkpoints(run), [])

        # Training waits for it at once, or at the next save where it is written in the background.
        for name, options in [("slow-save", waited), ("slow-save-behind", [])]:
            run = self.path / name
            done, seconds = self.train(run, *options, "--timeout.save", 60, fault=f"sleep-{SLOW * 1000:.0f}:1", path=part, rank=1)
            self.assertEqual(done.code, 0, done.err)
            said = re.search(r"step-000000003: .* written in ([\d.]+) s, training stood still for ([\d.]+) s", done.err)
            self.assertGreater(float(said[1]), SLOW)
            self.assertGreater(float(said[2]), STEP, "it was not longer than a step may be")
            self.assertEqual(checkpoints(run)[-1].name, "step-000000006")

    def test_a_long_step_teaches_the_limit(self):
        """Rank 0's record of a step belongs to the step. The first one of a stage is under timeout.start."""
        log = dict(path="/metrics.jsonl", rank=0)
        run = self.path / "hanging-step"
        done, seconds = self.train(run, fault=f"sleep-{1000 * HANGS}:{1 + 2}", **log)  # to open it, the first step, the second
        allowed = self.ends_with_a_line(done, 0, "step 2 of stage encoders", "timeout.step")
        self.assertLess(allowed, SLOW, "the first step was too long for this test to say anything: the machine is too busy")
        self.assertLess(seconds, HANGS)
        run = self.path / "long-steps"
        done, seconds = self.train(run, "--encoders.steps", 3, "--fusion.steps", 1, fault=f"all-sleep-{SLOW * 1000:.0f}:2", **log)
        self.assertEqual(done.code, 0, done.err)
        self.assertEqual(len(metrics(run)), 4)
        self.assertGreater(seconds, 4 * SLOW)


if __name__ == "__main__":
    unittest.main()
