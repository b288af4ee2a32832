"""Two jobs and one run folder: the second waits a while for the first, which may be about to die, and then does not touch the
run."""
import fcntl
import os
import unittest

from medfuse_cli import PROGRAM, medfuse
from training_run import Job, RunCase, checkpoints

SHIM = os.environ["MEDFUSE_FAULT_SHIM"]


class LockTest(RunCase):
    settings = {"stages": "encoders", "encoders.steps": 2}

    def held(self, name):
        """A run folder whose lock this test holds, as another job would."""
        run = self.path / name
        run.mkdir()
        lock = open(run / "lock", "w")
        self.addCleanup(lock.close)
        fcntl.flock(lock, fcntl.LOCK_EX)
        return run, lock

    def test_a_job_that_trains_on(self):
        run, _ = self.held("busy")
        done = medfuse(*self.training(run, "--timeout.lock", 1), ranks=2, timeout=60)
        self.assertEqual(done.code, 2, done.err)
        said, refused = done.errors
        self.assertIn("waiting up to 1 s for its end", said)
        self.assertIn("another job is training there", refused)
        self.assertEqual([path.name for path in run.iterdir()], ["lock"])

    def test_a_job_that_ends(self):
        run, lock = self.held("ending")
        job = Job([PROGRAM, *self.training(run)], self.path / "ending.log", {**os.environ, "OMP_NUM_THREADS": "1"})
        self.addCleanup(job.end)
        job.until(lambda: "waiting up to 100 s for its end" in job.text(), "wait")
        lock.close()
        self.assertEqual(job.wait(), 0, job.text())
        self.assertEqual(len(checkpoints(run)), 1)

    def test_a_file_system_without_locks(self):
        run = self.path / "without"
        done = medfuse(*self.training(run), environment={"LD_PRELOAD": SHIM, "MEDFUSE_FAULT": "all-ENOLCK:1",
                                                         "MEDFUSE_FAULT_PATH": "/lock"})
        self.assertEqual(done.code, 0, done.err)
        self.assertIn("has no locks", done.err)
        self.assertEqual(len(checkpoints(run)), 1)


if __name__ == "__main__":
    unittest.main()
