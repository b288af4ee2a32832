"""The scripts in slurm/: what launch/submit.py writes, for meshes that fit; and a node's copy of the packed data."""
import os
import pathlib
import re
import shlex
import subprocess
import tempfile
import time
import unittest

from medfuse_cli import ROOT, medfuse

PARTS = {"job.sh", "stage.sh"}  # written by hand
SCRIPTS = sorted(path for path in (ROOT / "slurm").glob("*.sh") if path.name not in PARTS)


def command_of(path):
    """The words of launch/submit.py at the head of a script."""
    lines = [line[1:] for line in path.read_text().splitlines()[3:] if line.startswith("#   ")]
    return shlex.split(" ".join(line.rstrip("\\") for line in lines))


class Scripts(unittest.TestCase):
    def test_they_are_what_the_command_at_their_head_writes(self):
        self.assertGreaterEqual(len(SCRIPTS), 6)
        for path in SCRIPTS:
            words = command_of(path)
            self.assertEqual(words[0], "launch/submit.py", path)
            done = subprocess.run([ROOT / words[0], "--dry-run", "--no-check", *words[1:]], cwd=ROOT, capture_output=True,
                                  text=True)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertEqual(done.stdout, path.read_text(),
                             f"{path.name} has drifted: write it again with the command at its head")

    def test_there_is_one_for_each_launcher_with_and_without_gpus(self):
        for gpus in (False, True):
            for launcher in ("srun", "mpirun"):
                found = [path for path in SCRIPTS if f"launcher={launcher}\n" in path.read_text() and
                         ("--gpus-per-node" in path.read_text()) == gpus]
                self.assertNotEqual(found, [], (gpus, launcher))

    def test_production_meshes_fit(self):
        for size, nodes in (("8b", 1), ("70b", 8)):
            for path in [path for path in SCRIPTS if path.name.startswith(f"llama-3-{size}-")]:
                text = path.read_text()
                asked = dict(re.findall(r"#SBATCH --(nodes|gpus-per-node|ntasks-per-node)=(\d+)", text))
                self.assertEqual(asked, {"nodes": str(nodes), "gpus-per-node": "8", "ntasks-per-node": "8"}, path)
                config = re.search(r"--config (\S+)", text)[1]
                done = medfuse("plan", "--config", config, "--text.model", f"configs/shapes/llama-3-{size}",
                               "--nodes", nodes, "--gpus-per-node", 8)
                self.assertEqual(done.code, 0, done.err)
                self.assertIn(f"mesh: {8 * nodes} ranks", done.out)
                self.assertRegex(done.out, r"needed +[\d.]+ GiB of 79.6 GiB")


class Stage(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.path = pathlib.Path(scratch.name)
        self.data = self.path / "packed"
        self.data.mkdir()
        for name, size in (("index.json", 100), ("shard-00000.h5", 70000), ("shard-00001.h5", 0)):
            (self.data / name).write_bytes(os.urandom(size))

    def stage(self, *words, path=None):
        environment = {**os.environ, "PATH": f"{path}:{os.environ['PATH']}" if path else os.environ["PATH"]}
        return subprocess.run(["bash", ROOT / "slurm" / "stage.sh", *words], capture_output=True, text=True, env=environment)

    def stand_in(self, text, name="bin"):
        """A folder with another cp."""
        path = self.path / name / "cp"
        path.parent.mkdir()
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
        return path.parent

    def assert_copied(self, to):
        self.assertEqual({file.name: file.read_bytes() for file in to.iterdir()},
                         {file.name: file.read_bytes() for file in self.data.iterdir()})

    def test_copies_for_the_owner_alone(self):
        to = self.path / "node" / "copy"
        to.mkdir(parents=True)
        (to / "shard-00009.h5").touch()  # left by an earlier start
        self.assertEqual(self.stage("copy", self.data, self.path / "node", "copy").returncode, 0)
        self.assert_copied(to)
        self.assertEqual({oct(file.stat().st_mode & 0o077) for file in [to, *to.iterdir()]}, {"0o0"})

    def test_told_to_stop_it_leaves_no_copy(self):
        """Whether the signal comes between two files, or ends cp with it, or a little before it is seen here."""
        for number, text in enumerate(['kill -TERM $PPID; exec /bin/cp "$@"', 'kill -USR1 $PPID $$',
                                       '(sleep 0.1; kill -USR2 $PPID) & kill -USR2 $$']):
            path = self.stand_in(text, f"bin{number}")
            self.assertEqual(self.stage("copy", self.data, self.path, "copy", path=path).returncode, 85, text)
            self.assertFalse((self.path / "copy").exists())

    def test_a_copy_that_differs_is_refused(self):
        path = self.stand_in('/bin/cp "$@" && for to; do :; done\n'
                             'printf x | dd of="${to}shard-00000.h5" bs=1 seek=5 conv=notrunc 2>/dev/null')
        done = self.stage("copy", self.data, self.path, "copy", path=path)
        self.assertEqual(done.returncode, 3, done.stderr)
        self.assertIn("is not what was copied", done.stderr)

    def test_no_packed_data_and_no_room(self):
        done = self.stage("copy", self.path / "none", self.path, "copy")
        self.assertEqual(done.returncode, 3)
        self.assertIn("index.json is missing", done.stderr)
        (self.path / "file").touch()
        done = self.stage("copy", self.data, self.path / "file", "copy")
        self.assertEqual(done.returncode, 3)
        self.assertIn("cannot be made", done.stderr)
        self.assertEqual(self.stage("copy", self.data).returncode, 2)

    def test_removes_when_told_and_nobody_reads_it_any_more(self):
        self.assertEqual(self.stage("copy", self.data, self.path, "copy").returncode, 0)
        reader = subprocess.Popen(["sh", "-c", "read wait", "medfuse", "--data.path", self.path / "copy"],
                                  stdin=subprocess.PIPE)
        keeper = subprocess.Popen(["bash", ROOT / "slurm" / "stage.sh", "keep", f"{self.path}/", "copy"])
        time.sleep(1)
        keeper.terminate()
        time.sleep(1)
        self.assert_copied(self.path / "copy")
        reader.communicate(b"\n")
        self.assertEqual(keeper.wait(timeout=20), 0)
        self.assertFalse((self.path / "copy").exists())


class Decisions(unittest.TestCase):
    """What slurm/job.sh does at the end of a start, with stand-ins for squeue and scontrol, and no waiting."""

    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.path = pathlib.Path(scratch.name)

    def stand_in(self, name, answers):
        """Of these commands it runs the next one each time it is called, at last the last one again and again."""
        (self.path / f"{name}.asked").unlink(missing_ok=True)
        tool = self.path / name
        cases = "".join(f"{i + 1}) {answer};;\n" for i, answer in enumerate(answers))
        tool.write_text('#!/bin/sh\necho "$*" >>"$0.asked"\n'
                        f'case $(wc -l <"$0.asked") in\n{cases}*) {answers[-1]};;\nesac\n')
        tool.chmod(0o755)

    def decide(self, code, *, squeue=("echo RUNNING None",), scontrol=("exit 0",), restarts=1, stderr=subprocess.PIPE):
        """The log."""
        self.stand_in("squeue", squeue)
        self.stand_in("scontrol", scontrol)
        script = (f"set -euo pipefail; PATH={self.path}:$PATH; run={self.path}; requeue_limit=20; failure_limit=2; "
                  f"source slurm/job.sh; sleep() {{ :; }}; decide {code} ''; echo decided")
        done = subprocess.run(["bash", "-c", script], cwd=ROOT, stdout=subprocess.PIPE, stderr=stderr, text=True,
                              env={**os.environ, "SLURM_JOB_ID": "7", "SLURM_JOB_NUM_NODES": "1",
                                   "SLURM_RESTART_COUNT": str(restarts)})
        self.assertEqual(done.stdout, "decided\n", done.stderr)
        return done.stderr

    def asked(self, name):
        path = self.path / f"{name}.asked"
        return len(path.read_text().splitlines()) if path.exists() else 0

    def test_what_may_help_is_tried_again(self):
        for code in (1, 4, 85, 137, 205):
            self.assertIn(f"exit code {code}: back in the queue", self.decide(code, restarts=0))
        for code in (2, 3, 5, 127):
            self.assertIn(f"exit code {code}: starting again would not help", self.decide(code))

    def test_a_controller_that_is_away_is_asked_again(self):
        log = self.decide(85, squeue=("exit 1", "exit 1", "echo RUNNING None"), scontrol=("exit 1", "exit 0"))
        self.assertIn("exit code 85: back in the queue", log)
        self.assertEqual((self.asked("squeue"), self.asked("scontrol")), (4, 2))
        log = self.decide(85, squeue=("exit 1",))
        self.assertIn("submit it anew", log)
        self.assertEqual(self.asked("scontrol"), 0, "nobody knows whether it was cancelled")
        self.assertIn("the rest is up to Slurm", self.decide(85, squeue=("exit 1", "echo CANCELLED None")))

        log = self.decide(85, scontrol=("exit 1",))
        self.assertIn("submit it anew", log)
        self.assertEqual(self.asked("scontrol"), 4, "the nodes stand idle meanwhile")

    def test_who_let_go_of_the_data(self):
        """The step that keeps them: told by Slurm, still removing; dead with its node; or waiting to be told."""
        for ends, told in (("sleep 1", 0), ("sleep 1; exit 143", 143), ("sleep 15", 1)):
            script = f"set -euo pipefail; source slurm/job.sh; ({ends}) & keeper=$!; keeper_was_told"
            done = subprocess.run(["bash", "-c", script], cwd=ROOT, env={**os.environ, "SLURM_JOB_NUM_NODES": "1"})
            self.assertEqual(done.returncode, told, ends)

    def test_failures_are_counted_from_the_start_of_a_job(self):
        (self.path / "slurm-failures").write_text("1\n")  # of a job before
        self.assertIn("back in the queue", self.decide(137, restarts=0))
        self.assertIn("failed 2 times in a row", self.decide(137, restarts=1))

    def test_what_cannot_be_written_is_no_reason_to_give_up(self):
        (self.path / "slurm-failures").mkdir()
        self.assertIn("back in the queue", self.decide(137))
        with open("/dev/full", "w") as full:
            self.decide(137, stderr=full)
        self.assertEqual(self.asked("scontrol"), 1)


if __name__ == "__main__":
    unittest.main()
