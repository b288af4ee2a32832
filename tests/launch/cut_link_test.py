"""Training on two simulated hosts, whose link is cut in the middle: the job ends by itself and names the rank that is lost,
nothing runs on on either host, and once the link is there again the same command trains to the end.

Needs root (or the right to make namespaces), util-linux and iproute2; says so and is skipped where these are missing."""
import pathlib
import re
import sys
import tempfile
import time
import unittest

from medfuse_cli import ENVIRONMENT, PROGRAM, ROOT
from training_run import Job, checkpoints, metrics, pack_small
from two_hosts import NAMES, NoHosts, TwoHosts

STEPS = 400  # of the first stage: the job shall not be at its end when the link is cut
LOST = 205  # what mpirun returns once it knows that it has lost a node
KEEPALIVE = 5 + 2 * 2  # seconds after which it knows: launch/mpirun.sh
ANSWERS = 5  # seconds for which a rank waits for an answer
LAST_RESORT = 30  # seconds after which a rank that wants to end does so, whatever hangs
LEAVING = 12  # seconds for what then has to be done, on a loaded machine


def setUpModule():
    global hosts, folder
    folder = tempfile.TemporaryDirectory()
    unittest.addModuleCleanup(folder.cleanup)
    try:
        hosts = TwoHosts(pathlib.Path(folder.name))
    except NoHosts as reason:
        print(f"skipped: {reason}", file=sys.stderr)
        folder.cleanup()
        sys.exit(77)
    unittest.addModuleCleanup(hosts.close)


class CutLink(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.path = pathlib.Path(folder.name)
        cls.config, cls.packed = pack_small(cls.path, **{"encoders.steps": STEPS, "fusion.steps": 2, "checkpoint.every": 10})

    def job(self, run, *more, bare=False):
        """Rank 0 on the first host, rank 1 on the second. A bare mpirun does not ask whether a node is still there."""
        environment = {**ENVIRONMENT, **hosts.environment, "MEDFUSE": PROGRAM}
        launcher = ["mpirun", "--bind-to", "none", "-np", 2, PROGRAM] if bare else [ROOT / "launch" / "mpirun.sh", 2]
        job = Job([*hosts.on(0), *launcher, "train", "--config", self.config, "--data.path", self.packed, "--run", run, *more],
                  self.path / f"log-{time.monotonic_ns()}", environment)
        self.addCleanup(job.end)
        return job

    def ranks(self, host):
        return [pid for pid, name in hosts.processes(host) if name == pathlib.Path(PROGRAM).name]

    def train_until_checkpoint(self, run, *more, bare=False):
        job = self.job(run, *more, bare=bare)
        job.until(lambda: checkpoints(run), "checkpoint")
        self.assertIn("2 nodes\n", job.text())
        for host in (0, 1):
            self.assertEqual(len(self.ranks(host)), 1, job.text())
            # They are on two nodes: neither has memory that both could use (hang_test.py looks for the contrary).
            for pid in self.ranks(host):
                self.assertNotIn("/memfd:medfuse", pathlib.Path(f"/proc/{pid}/maps").read_text())
        return job

    def expect_nothing_left(self):
        end = time.monotonic() + LEAVING
        while any(hosts.processes(host) for host in (0, 1)) and time.monotonic() < end:
            time.sleep(0.1)
        for host in (0, 1):
            self.assertEqual(hosts.processes(host), [], NAMES[host])

    def test_a_cut_link_ends_the_job_and_names_the_rank(self):
        run = self.path / "cut"
        job = self.train_until_checkpoint(run, "--timeout.step", 60)
        hosts.cut()
        self.addCleanup(hosts.mend)
        begin = time.monotonic()
        # mpirun finds out first, and tells its ranks to end; rank 0 then says whom it was waiting for.
        self.assertEqual(job.wait(), LOST, job.text())
        self.assertLess(time.monotonic() - begin, KEEPALIVE + LEAVING)
        self.assertIn("ORTE has lost communication with a remote daemon", job.text())
        self.assertRegex(job.text(), f"medfuse: told to stop, but rank 1 on {NAMES[1]} does not answer: it is stopped, killed "
                                     "or cut off; rank 0 waits for rank 1 in all_")
        self.expect_nothing_left()

        hosts.mend()
        done = len(metrics(run))
        again = self.job(run, "--stop.after", 1)
        self.assertEqual(again.wait(), 85, again.text())
        self.assertIn("continuing behind step", again.text())
        self.assertGreater(len(metrics(run)), done - 10)

    def test_the_watchdog_names_the_rank_where_the_launcher_notices_nothing(self):
        run = self.path / "silent"
        job = self.train_until_checkpoint(run, "--timeout.step", 5, "--timeout.save", 5, bare=True)
        hosts.lose_silently()
        self.addCleanup(hosts.find_again)
        self.addCleanup(hosts.clear)
        begin = time.monotonic()
        line = re.compile(f"medfuse: rank 1 on {NAMES[1]} does not answer: .*; rank 0 waits for rank 1 in all_.*allowed are "
                          r"([\d.]+) s \(timeout")
        job.until(lambda: line.search(job.text()), "line")
        self.assertLess(time.monotonic() - begin, float(line.search(job.text())[1]) + ANSWERS + LEAVING)
        # mpirun itself waits until TCP gives up its connection to the other host, a quarter of an hour; the ranks do not.
        job.until(lambda: not self.ranks(0) and not self.ranks(1), "end of the ranks")
        self.assertLess(time.monotonic() - begin, float(line.search(job.text())[1]) + 2 * ANSWERS + LAST_RESORT + LEAVING)


if __name__ == "__main__":
    unittest.main()
