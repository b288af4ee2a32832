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

    def stand_in(self, text):
        """A folder with another cp."""
        path = self.path / "bin" / "cp"
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

    def test_a_signal_does_not_spoil_a_copy(self):
        path = self.stand_in('kill -TERM $PPID; exec /bin/cp "$@"')
        self.assertEqual(self.stage("copy", self.data, self.path, "copy", path=path).returncode, 0)
        self.assert_copied(self.path / "copy")

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


if __name__ == "__main__":
    unittest.main()
