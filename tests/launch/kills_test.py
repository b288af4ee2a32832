"""Training that is killed again and again, at random moments and above all while it saves: one rank, all ranks, mpirun or the
script that started it. Each job is followed by the same command; every run ends with the very weights of one that nobody
killed, and after each kill whatever is named as a checkpoint is whole.

MEDFUSE_KILLS is how many times (a few without it), MEDFUSE_KILLS_SEED repeats a campaign's choices (not its moments, which
are the machine's)."""
import collections
import os
import pathlib
import random
import signal
import time
import unittest

from medfuse_cli import ENVIRONMENT, PROGRAM, ROOT, medfuse
from training_run import Job, RunCase, checkpoints, metrics, running

KILLS = int(os.environ.get("MEDFUSE_KILLS", 9))
SEED = int(os.environ.get("MEDFUSE_KILLS_SEED", random.SystemRandom().randrange(10**6)))
STEPS = 60  # of each stage
GONE = 30  # seconds after which nothing of a killed job may run any more

# Ranks and options; each has a reference of its own, as the same mesh is the same to the bit.
MESHES = [(2, []),
          (3, ["--parallel.tensor", 3, "--parallel.sequence", "true"]),
          (2, ["--parallel.zero", 3, "--checkpoint.background", "false"])]

TARGETS = ["one rank", "all ranks", "mpirun", "the script"]
MOMENTS = {"a save": 6, "training": 3, "the start": 1}  # with these weights


def hidden(run):
    """What writers have not finished, or what is about to be deleted."""
    return [path.name for path in (run / "checkpoints").glob(".*")]


class Kills(RunCase):
    settings = {"encoders.steps": STEPS, "fusion.steps": STEPS, "checkpoint.every": 3, "checkpoint.keep": 2,
                "checkpoint.keep_every": 30, "validate.every": 12, "checkpoint.best": "true"}
    random = random.Random(SEED)

    def moment(self, job, run, kind):
        """Waits for it; false if the job came to its end before."""
        if kind == "the start":
            until = time.monotonic() + self.random.uniform(0, 2)
            return self.awaited(job, lambda: time.monotonic() > until)
        done = len(metrics(run))
        if not self.awaited(job, lambda: len(metrics(run)) > done):
            return False
        if kind == "training":
            until = time.monotonic() + self.random.uniform(0, 1.5)
            return self.awaited(job, lambda: time.monotonic() > until)
        for _ in range(self.random.randrange(1, 4)):
            if not (self.awaited(job, lambda: not hidden(run)) and self.awaited(job, lambda: hidden(run))):
                return False
        time.sleep(self.random.uniform(0, 0.02))
        return True

    def awaited(self, job, condition):
        end = time.monotonic() + 120
        while not condition():
            if job.process.poll() is not None:
                return False
            self.assertLess(time.monotonic(), end, job.text())
            time.sleep(0.0005)
        return True

    def kill(self, job, target):
        """All at one moment; false if there was nothing to kill."""
        processes = job.descendants()
        ranks = [pid for pid, name in processes if name == pathlib.Path(PROGRAM).name[:15]]
        mpirun = [pid for pid, name in processes if name == "mpirun"]
        victims = {"one rank": self.random.sample(ranks, min(1, len(ranks))), "all ranks": ranks, "mpirun": mpirun,
                   "the script": [job.process.pid]}[target]
        for pid in victims:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        return victims, ranks + mpirun

    def struck(self, mesh, run):
        """One job and its kill; what was struck, or nothing if the job ended before."""
        job = Job([ROOT / "launch" / "mpirun.sh", mesh[0], *self.training(run, *mesh[1])], self.path / "log",
                  {**ENVIRONMENT, "MEDFUSE": PROGRAM})
        self.addCleanup(job.end)
        kind = self.random.choices(list(MOMENTS), MOMENTS.values())[0]
        target = self.random.choice(TARGETS)
        alive = self.moment(job, run, kind)
        victims, processes = self.kill(job, target) if alive else ([], [])
        code = job.process.wait(timeout=GONE)
        end = time.monotonic() + GONE
        while running(processes) and time.monotonic() < end:
            time.sleep(0.01)
        self.assertEqual(running(processes), [], f"outlive a kill of {target}")
        if code == 0:
            return None
        self.assertTrue(victims, f"ended with {code} by itself: {job.text()}")
        return kind, target

    def killed_on(self, mesh, run, most):
        """One job after the other until the run is at its end; the last is spared if there were that many kills. What was
        struck, kill by kill."""
        struck = []
        while len(struck) < most:
            kill = self.struck(mesh, run)
            if kill is None:
                return struck
            struck.append((*kill, bool(hidden(run))))
            if checkpoints(run):
                verified = medfuse("checkpoint", "verify", "--run", run)
                self.assertEqual(verified.code, 0, (struck, verified.out, verified.err))
        done = medfuse(*self.training(run, *mesh[1]), ranks=mesh[0])
        self.assertEqual(done.code, 0, done.err)
        return struck

    def test_whatever_is_killed_the_same_command_ends_as_if_nothing_had_been(self):
        print(f"\nMEDFUSE_KILLS_SEED={SEED}", flush=True)
        kills, runs = [], 0
        for number, mesh in enumerate(MESHES, 1):
            whole = self.undisturbed(f"whole-{number}", *mesh[1], ranks=mesh[0])
            while len(kills) < KILLS * number // len(MESHES):
                runs += 1
                run = self.path / f"run-{runs}"
                kills += self.killed_on(mesh, run, KILLS * number // len(MESHES) - len(kills))
                self.assert_same_run(run, whole)
        halves = sum(half for *_, half in kills)
        print(f"{len(kills)} kills of {runs} runs, each ended bit for bit; {halves} left a checkpoint half written or half deleted")
        for (kind, target), count in sorted(collections.Counter(kill[:2] for kill in kills).items()):
            print(f"  {target} during {kind}: {count}")
        self.assertGreaterEqual(halves, KILLS // 6, "the moments miss the saves")


if __name__ == "__main__":
    unittest.main()
