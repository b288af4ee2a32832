"""A rank that is stopped in the middle of training: the job ends in time with one line that names this rank, and with exit
code 4; nothing of it is left, and the same command then trains to the end."""
import os
import pathlib
import re
import signal
import socket
import time
import unittest

from medfuse_cli import ENVIRONMENT, PROGRAM, medfuse
from training_run import Job, RunCase, checkpoints, metrics, rank_of, running

RANKS = 3
STEPS = 400  # of each stage: the job shall not be at its end when the rank is stopped
# Which a loaded machine needs for a step; longer ones raise the limit, which the job then says.
LIMITS = ["--timeout.start", 60, "--timeout.step", 5, "--timeout.save", 30]
ANSWERS = 5  # seconds for which the other ranks wait for an answer, before they call a rank silent
LEAVING = 10  # seconds for mpirun to end all ranks, the stopped one too


class Hang(RunCase):
    settings = {"encoders.steps": STEPS, "fusion.steps": 2, "checkpoint.every": 10}

    def job(self, run):
        command = ["mpirun", "--oversubscribe", "--bind-to", "none", "-np", RANKS, PROGRAM, *self.training(run, *LIMITS)]
        job = Job(command, self.path / f"log-{run.name}", ENVIRONMENT)
        self.addCleanup(job.end)
        return job

    def stopped_rank_is_named(self, rank):
        run = self.path / f"stopped-{rank}"
        job = self.job(run)
        job.until(lambda: checkpoints(run), "checkpoint")
        pids = job.pids(pathlib.Path(PROGRAM).name)
        self.assertEqual(len(pids), RANKS, job.text())
        # That ranks of one node share memory: cut_link_test.py looks for the contrary.
        for pid in pids:
            self.assertIn("/memfd:medfuse", pathlib.Path(f"/proc/{pid}/maps").read_text())
        os.kill(next(pid for pid in pids if rank_of(pid) == rank), signal.SIGSTOP)
        begin = time.monotonic()
        self.assertEqual(job.wait(), 4, job.text())
        seconds = time.monotonic() - begin
        lines = [line for line in job.text().splitlines() if line.startswith("medfuse: ")]
        self.assertEqual(len(lines), 1, job.text())
        others = " wait for rank ".join([f"ranks {', '.join(str(r) for r in range(RANKS) if r != rank)}", str(rank)])
        self.assertTrue(lines[0].startswith(f"medfuse: rank {rank} on {socket.gethostname()} does not answer: it is stopped, "
                                            f"killed or cut off; {others} in all_"), lines[0])
        said = re.search(r"; (step \d+ of stage encoders|saving step \d+) has lasted [\d.]+ s, allowed are ([\d.]+) s "
                         r"\(timeout\.(step|save)\); ", lines[0])
        self.assertTrue(said, lines[0])
        self.assertLess(seconds, float(said[2]) + ANSWERS + LEAVING)
        end = time.monotonic() + 5  # a killed process gives its memory back first
        while running(pids) and time.monotonic() < end:
            time.sleep(0.1)
        self.assertEqual(running(pids), [])
        return run

    def test_a_stopped_rank_is_named(self):
        run = self.stopped_rank_is_named(2)
        done = len(metrics(run))
        again = medfuse(*self.training(run, "--stop.after", 1), ranks=RANKS)
        self.assertEqual(again.code, 85, again.err)
        self.assertIn("continuing behind step", again.err)
        self.assertGreater(len(metrics(run)), done - 10)

    def test_rank_0_is_named_by_another(self):
        self.stopped_rank_is_named(0)


if __name__ == "__main__":
    unittest.main()
