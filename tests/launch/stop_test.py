"""Runs that are told to stop, by real signals, a file and a time limit: each ends with code 85 and a checkpoint, and what
continues it ends with the very weights of a run that nobody stopped. And launchers that MPI knows nothing of."""
import os
import pathlib
import signal
import subprocess
import time
import unittest

from medfuse_cli import ENVIRONMENT, PROGRAM, ROOT, medfuse
from training_run import Job, RunCase, checkpoints, cut_back, metrics

STEPS = 120  # of each stage
RANKS = 2


class Stop(RunCase):
    settings = {"encoders.steps": STEPS, "fusion.steps": STEPS, "checkpoint.every": 0, "stop.margin": 1}

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.whole = cls.undisturbed("whole", ranks=RANKS)

    def job(self, run, *more, bare=False, environment=None):
        command = [PROGRAM, *self.training(run, *more)]
        if bare:
            command = ["mpirun", "--oversubscribe", "--bind-to", "none", "-np", RANKS, *command]
        else:
            command = [ROOT / "launch" / "mpirun.sh", RANKS, *command[1:]]
        job = Job(command, self.path / f"log-{time.monotonic_ns()}",
                  {**ENVIRONMENT, "MEDFUSE": PROGRAM, **(environment or {})})
        self.addCleanup(job.end)
        return job

    def train_on(self, job, run):
        """Until it has done two more steps than the run had."""
        done = len(metrics(run))
        job.until(lambda: len(metrics(run)) >= done + 2, "two steps")

    def stopped(self, job, run, reason):
        """Ended as asked, and nothing that was trained is lost."""
        self.assertEqual(job.wait(), 85, job.text())
        self.assertIn(f"stopped: {reason}", job.text())
        self.assertEqual(job.text().count("medfuse: stopped on request with a checkpoint"), 1, job.text())
        self.assertEqual(checkpoints(run)[-1].name, f"step-{len(metrics(run)):09d}")
        self.assertTrue((checkpoints(run)[-1] / "manifest.json").exists())
        self.assertLess(len(metrics(run)), 2 * STEPS, "it was at its end: make the stages longer")

    def equals_the_whole(self, run):
        self.assert_same_run(run, self.whole)
        self.assertEqual([line["step"] for line in metrics(run)], 2 * list(range(1, STEPS + 1)))

    def test_a_run_that_is_stopped_in_every_way_ends_as_if_nobody_had(self):
        run = self.path / "often"

        job = self.job(run)
        self.train_on(job, run)
        os.kill(job.pids("medfuse")[-1], signal.SIGUSR2)
        self.stopped(job, run, "SIGUSR2")

        job = self.job(run)
        self.train_on(job, run)
        job.process.terminate()
        self.stopped(job, run, "SIGTERM")

        job = self.job(run)  # as a batch system does: all processes of the job at once
        self.train_on(job, run)
        for pid in [job.process.pid, *(pid for pid, _ in job.descendants())]:
            os.kill(pid, signal.SIGTERM)
        self.stopped(job, run, "SIGTERM")

        job = self.job(run)
        self.train_on(job, run)
        job.process.send_signal(signal.SIGUSR1)
        self.stopped(job, run, "SIGUSR1")

        job = self.job(run, bare=True)
        self.train_on(job, run)
        job.process.send_signal(signal.SIGUSR2)
        self.stopped(job, run, "SIGUSR2")

        job = self.job(run)
        self.train_on(job, run)
        (run / "stop").touch()
        self.stopped(job, run, f"the stop file {run / 'stop'}")
        self.assertFalse((run / "stop").exists(), "the next start would stop as well")

        self.assertEqual(medfuse(*self.training(run), ranks=RANKS).code, 0)
        self.equals_the_whole(run)

    def test_a_stop_does_not_wait_for_a_score(self):
        run = self.path / "scored"
        cut_back(self.whole, run, STEPS)
        # The wish is there as soon as there was a step: the first to ask is the scoring behind it.
        job = self.job(run, "--validate.every", 1, "--stop.after", 0.001)
        self.stopped(job, run, "stop.after")
        self.assertEqual(len(metrics(run)), STEPS + 1)
        self.assertNotIn("validation_auroc", metrics(run)[-1])
        job = self.job(run, "--validate.every", STEPS // 2)
        self.assertEqual(job.wait(), 0)
        self.assertRegex(job.text(), r"step 1 of stage fusion, whose score a stop had left off: validation_auroc \d\.\d+")
        self.equals_the_whole(run)
        scored = [line["step"] for line in metrics(run) if "validation_auroc" in line]
        self.assertEqual(scored, [STEPS // 2, STEPS])

    def test_slurms_time_limit_that_changes(self):
        tools = self.path / "tools"
        tools.mkdir()
        answer = tools / "answer"
        answer.write_text("exit 1")
        (tools / "squeue").write_text(f'#!/bin/sh\necho "$*" >>{tools}/questions\n. {answer}\n')
        (tools / "squeue").chmod(0o755)
        slurm = {"PATH": f"{tools}:{os.environ['PATH']}", "SLURM_JOB_ID": "4711", "SLURM_NTASKS": "8", "SLURM_PROCID": "0"}

        def answers(script):
            temporary = tools / "next"
            temporary.write_text(script)
            temporary.rename(answer)

        run = self.path / "limited"
        job = self.job(run, "--stop.slurm_every", "0.1", "--stop.margin", "20", environment=slurm)
        self.train_on(job, run)
        self.assertIn("warning: squeue returned 1: this run does not know its time limit", job.text())
        answers("echo N/A")
        self.train_on(job, run)
        answers("date -d '+1 hour' +%Y-%m-%dT%H:%M:%S")
        job.until(lambda: "Slurm ends this job at" in job.text(), "answer of squeue")
        self.train_on(job, run)
        limit = int(time.time()) + 21  # of which 20 s are kept free: a busy machine may need them to leave
        answers(f"echo {limit}")
        self.assertEqual(job.wait(), 85, job.text())
        self.assertLess(time.time(), limit, "too late")
        self.assertRegex(job.text(), r"stopped: \d+ s left of the job's time, a step and a save take up to \d+ s")
        self.stopped(job, run, "")
        questions = (tools / "questions").read_text().splitlines()
        self.assertEqual(set(questions), {"-h -j 4711 -o %e"})
        self.assertGreater(len(questions), 3, "it is asked again")

        answers("date +%s")  # no time at all: it does not even begin
        before = checkpoints(run)
        job = self.job(run, environment=slurm)
        self.assertEqual(job.wait(), 85, job.text())
        self.assertIn("before the first step", job.text())
        self.assertEqual(checkpoints(run), before)

        self.assertEqual(medfuse(*self.training(run), ranks=RANKS).code, 0)
        self.equals_the_whole(run)

    def told_while_it_starts(self):
        """A job that has ended, told so early. Its ranks are held meanwhile; a try that finds them in a step is not one."""
        for attempt in range(5):
            run = self.path / f"early-{attempt}"
            job = self.job(run)
            job.until(lambda: "ranks: 2, started by Open MPI (mpirun)" in job.text(), "ranks")
            ranks = job.pids("medfuse")
            for number in signal.SIGSTOP, signal.SIGTERM, signal.SIGCONT:
                for pid in ranks:
                    os.kill(pid, number)
            self.assertEqual(job.wait(), 85, job.text())
            if not metrics(run):
                return run, job
        self.fail(f"it trains before it looks: {job.text()}")

    def test_a_wish_that_comes_before_training(self):
        run, job = self.told_while_it_starts()
        self.assertIn("SIGTERM", job.text())
        self.assertIn("before the first step, when there was nothing new to save", job.text())
        self.assertEqual(checkpoints(run), [])
        # A file that is there already, of a path of the user's own.
        file = self.path / "stop-here"
        file.touch()
        stopped = medfuse(*self.training(run, "--stop.file", file), ranks=RANKS)
        self.assertEqual(stopped.code, 85, stopped.err)
        self.assertIn(f"stopped before the first step: the stop file {file}", stopped.err)
        self.assertFalse(file.exists())

    def test_signals_are_chosen(self):
        run = self.path / "chosen"
        job = self.job(run, "--stop.signals", "USR1")
        self.train_on(job, run)
        os.kill(job.pids("medfuse")[0], signal.SIGUSR2)
        self.assertEqual(job.wait(), 128 + signal.SIGUSR2, job.text())
        for option, value, words in [("signals", "USR3", "stop.signals: 'USR3' is not known: TERM, USR1, USR2"),
                                     ("signals", "TERM,none", "stop.signals: 'none' is not known"),
                                     ("limit", "1", "stop.limit = 1 leaves no time to train before stop.margin = 1"),
                                     ("after", "-1", "stop.after"), ("file", self.path, "is a folder")]:
            refused = medfuse(*self.training(self.path / "never", f"--stop.{option}", value))
            self.assertEqual(refused.code, 2, refused.err)
            self.assertEqual(len(refused.errors), 1, refused.err)
            self.assertIn(words, refused.errors[0])

    def test_mpirun_sh_passes_codes_and_input_on(self):
        script = ROOT / "launch" / "mpirun.sh"
        environment = {**ENVIRONMENT, "MEDFUSE": PROGRAM}
        for arguments, code in [(["info"], 0), (["trian"], 2), (["checkpoint", "list", "--run", self.path / "none"], 2)]:
            done = subprocess.run([script, "2", *arguments], env=environment, capture_output=True, timeout=120)
            self.assertEqual(done.returncode, code, done.stderr)
        done = subprocess.run([script, "1", "tokenize", "--tokenizer", os.environ["MEDFUSE_WEIGHTS"]], env=environment,
                              input=b"Chest pain\n", capture_output=True, timeout=120)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertRegex(done.stdout.decode(), r"^\d+ \d+")
        run = self.path / "killed"
        job = self.job(run, "--encoders.steps", 100000)  # it does not end by itself
        self.train_on(job, run)
        ranks = job.pids("medfuse")
        self.assertEqual(len(ranks), RANKS)
        job.process.kill()
        job.process.wait()
        def alive(pid):
            try:
                return str(run).encode() in pathlib.Path(f"/proc/{pid}/cmdline").read_bytes()
            except OSError:
                return False

        end = time.monotonic() + 30
        while any(map(alive, ranks)) and time.monotonic() < end:
            time.sleep(0.05)
        left = [pid for pid in ranks if alive(pid)]
        for pid in left:
            os.kill(pid, signal.SIGKILL)
        self.assertEqual(left, [], "ranks outlive the script")


class Launchers(unittest.TestCase):
    def info(self, **environment):
        done = subprocess.run([PROGRAM, "info"], env={**ENVIRONMENT, **environment}, capture_output=True, timeout=120)
        return done.returncode, done.stdout.decode(), done.stderr.decode()

    def test_who_started_it(self):
        self.assertIn("ranks: 2, started by Open MPI (mpirun)\n", medfuse("info", ranks=2).out)
        batch = {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "8", "SLURM_PROCID": "0", "SLURM_STEP_ID": "4294967291"}
        for environment in ({}, batch):
            code, out, err = self.info(**environment)
            self.assertEqual(code, 0, err)
            self.assertIn("ranks: 1, started without a launcher\n", out)

    STEP = {"SLURM_JOB_ID": "7", "SLURM_JOBID": "7", "SLURM_STEP_ID": "0", "SLURM_NODELIST": "node[1-2]", "SLURM_PROCID": "0"}

    def test_tasks_that_mpi_does_not_bring_together_are_refused_once(self):
        """What srun starts without --mpi=pmix: as many jobs of one rank as there are tasks."""
        for name, more in [("Slurm (srun)", {}), ("PMI (mpiexec or srun --mpi=pmi2)", {"PMI_SIZE": "3"})]:
            lines = []
            for task in range(3):
                pmi = {**more, "PMI_RANK": str(task)} if more else {}
                code, out, err = self.info(**self.STEP | {"SLURM_STEP_NUM_TASKS": "3", "SLURM_PROCID": str(task)} | pmi)
                self.assertEqual(code, 2, out + err)
                lines += err.splitlines()
            self.assertEqual(len(lines), 1, lines)
            self.assertIn(f"medfuse: {name} started 3 processes, of which MPI sees one alone", lines[0])
            self.assertIn("srun --mpi=pmix", lines[0])

    def test_a_shell_that_srun_started_is_a_place_to_work(self):
        code, out, err = self.info(**self.STEP, SLURM_STEP_NUM_TASKS="1")
        self.assertEqual(code, 0, err)
        self.assertIn("ranks: 1, started by Slurm (srun)\n", out)


if __name__ == "__main__":
    unittest.main()
