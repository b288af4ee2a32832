"""launch/submit.py: what it writes, what it has checked before the queue, and what it refuses. sbatch is a stand-in here;
the real one takes its scripts in jobs_test.py."""
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

from medfuse_cli import PROGRAM, ROOT, WEIGHTS, medfuse, small_tables, write_config

SBATCH = """#!/bin/sh
pwd >"$0.folder"
cp "$2" "$0.script"
[ "$1" = --parsable ] && echo "17;cluster"
[ -z "$REFUSES" ] || { echo "sbatch: error: $REFUSES" >&2; exit 1; }
"""


class Submit(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        scratch = tempfile.TemporaryDirectory()
        cls.addClassCleanup(scratch.cleanup)
        cls.path = pathlib.Path(scratch.name)
        cls.config = write_config(cls.path / "c.cfg", **{"data.path": cls.path / "packed"})
        packed = medfuse("pack", "--config", cls.config, "--input", small_tables(cls.path / "tables"),
                         "--output", cls.path / "packed")
        assert packed.code == 0, packed.err
        (cls.path / "bin").mkdir()
        cls.sbatch = cls.path / "bin" / "sbatch"
        cls.sbatch.write_text(SBATCH)
        cls.sbatch.chmod(0o755)

    def submit(self, *words, config=None, path=None, **environment):
        done = subprocess.run(
            [ROOT / "launch" / "submit.py", "--config", config or self.config, "--run", self.path / "run",
             "--program", PROGRAM, *map(str, words)],
            env={**os.environ, "PATH": path or f"{self.path / 'bin'}:{os.environ['PATH']}", **environment}, cwd=self.path,
            capture_output=True, text=True)
        return done

    def refused(self, done, code, *words):
        self.assertEqual(done.returncode, code, done.stderr)
        errors = [line for line in done.stderr.splitlines() if line.startswith("submit: error: ")]
        self.assertEqual(len(errors), 1, done.stderr)
        self.assertNotIn("Traceback", done.stderr)
        self.assertEqual(done.stdout, "")
        for word in words:
            self.assertIn(word, errors[0])

    def dry(self, *words, **more):
        done = self.submit("--dry-run", *words, **more)
        self.assertEqual(done.returncode, 0, done.stderr)
        with tempfile.NamedTemporaryFile("w", suffix=".sh") as script:
            script.write(done.stdout)
            script.flush()
            self.assertEqual(subprocess.run(["bash", "-n", script.name], capture_output=True).stderr, b"")
        return done.stdout.splitlines()

    def test_queues_from_the_checkout_and_says_what_it_did(self):
        done = self.submit("--nodes", 2, "--tasks-per-node", 3, "--time", "1-00:00:00")
        self.assertEqual((done.returncode, done.stdout), (0, "17\n"), done.stderr)
        self.assertIn("checked: mesh: 6 ranks = 6 data x 1 tensor on 2 nodes", done.stderr)
        self.assertIn(f"job 17 is in the queue; its log: {self.path}/run/slurm-17.log", done.stderr)
        script = (self.path / "run" / "job.sh").read_text()
        self.assertEqual((self.path / "bin" / "sbatch.script").read_text(), script)
        self.assertEqual((self.path / "bin" / "sbatch.folder").read_text().strip(), str(ROOT))
        self.assertEqual((self.path / "run").stat().st_mode & 0o077, 0)

    def test_ranks_must_know_the_signal(self):
        self.refused(self.submit("--", "--stop.signals", "TERM, USR2"), 2, "--signal USR1@180", "stop.signals (TERM, USR2)")
        self.refused(self.submit("--signal", "USR2@60", "--", "--stop.signals=none"), 2, "USR2", "stop.signals (none)")
        self.assertIn("stop_signal=USR2", self.dry("--signal", "USR2@60", "--", "--stop.signals", "TERM,USR2"))
        self.assertIn("stop_signal=USR1", self.dry("--", "--stop.signals", "SIGTERM,SIGUSR1"))

    def test_an_array_is_refused(self):
        for words in ("--array=0-2", "-a0-2"):
            self.refused(self.submit(f"--sbatch={words}"), 2, f"--sbatch={words}", "one run folder")

    def test_every_option_is_in_the_script(self):
        lines = self.dry("--nodes", 4, "--tasks-per-node", 4, "--gpus-per-node", 8, "--gpu-type", "h100",
                         "--cpus-per-task", 12, "--mem", "64G", "--time", "90", "--partition", "p", "--account", "a",
                         "--qos", "q", "--constraint", "c&d", "--job-name", "n", "--sbatch=--exclusive",
                         "--sbatch=--mail-type=END", "--requeue-limit", 7, "--failure-limit", 2,
                         "--signal", "USR2@300", "--launcher", "mpirun",
                         "--launcher-option=--mca x y",
                         "--interface", "ib0", "--ib-hca", "mlx5", "--setup", "module load openmpi", "--setup", ". env.sh",
                         "--env", "A=b c'd", "--", "--batch", 64)
        for line in ["#SBATCH --nodes=4", "#SBATCH --ntasks-per-node=4", "#SBATCH --gpus-per-node=h100:8",
                     "#SBATCH --cpus-per-task=12", "#SBATCH --mem=64G", "#SBATCH --time=90", "#SBATCH --partition=p",
                     "#SBATCH --account=a", "#SBATCH --qos=q", "#SBATCH --constraint=c&d", "#SBATCH --job-name=n",
                     "#SBATCH --exclusive", "#SBATCH --mail-type=END", "#SBATCH --requeue", "#SBATCH --open-mode=append",
                     "#SBATCH --signal=B:USR2@300", "requeue_limit=7", "failure_limit=2", "stop_signal=USR2",
                     "launcher=mpirun", "launcher_options=('--mca x y')", "tasks_per_node=4", "module load openmpi",
                     ". env.sh",
                     "export NCCL_SOCKET_IFNAME==ib0", "export NCCL_IB_HCA=mlx5", "export OMPI_MCA_btl_tcp_if_include=ib0",
                     "export OMPI_MCA_oob_tcp_if_include=ib0", "export A='b c'\"'\"'d'"]:
            self.assertIn(line, lines)
        self.assertLess(lines.index("module load openmpi"), lines.index(". env.sh"))
        command = next(line for line in lines if line.startswith("command="))
        self.assertTrue(command.endswith("--batch 64 --device cuda)"), command)
        self.assertIn("#SBATCH --no-requeue", self.dry("--requeue-limit", 0))

    def test_a_gpu_job_wants_gpus_and_a_cpu_job_none(self):
        def command(*words, **more):
            return next(line for line in self.dry(*words, **more) if line.startswith("command="))
        self.assertIn("--device cuda", command("--gpus-per-node", 2))
        self.assertIn("--device cpu", command())
        self.assertEqual(command("--", "--device=auto").count("--device"), 1)
        config = write_config(self.path / "device.cfg", device="auto", **{"data.path": self.path / "packed"})
        self.assertNotIn("--device", command(config=config))

    def test_staged_data_are_named_by_the_job(self):
        lines = self.dry("--stage", "$TMPDIR/my data", "--", "--data.path", self.path / "packed", "--batch", 8)
        self.assertIn("stage=\"${TMPDIR}\"'/my data'", lines)
        self.assertIn(f"data={self.path}/packed", lines)
        self.assertTrue(next(line for line in lines if line.startswith("command=")).endswith("--batch 8 --device cpu)"))
        self.assertIn("stage=", self.dry())

    def test_bad_options(self):
        for words, said in [
                (["--nodes", 0], ["--nodes", "at least 1"]), (["--nodes", "two"], ["--nodes", "'two'"]),
                (["--time", "soon"], ["--time", "'soon'"]), (["--mem", "-3"], ["--mem"]),
                (["--signal", "KILL@3"], ["--signal"]),
                (["--launcher", "rsh"], ["--launcher", "rsh"]), (["--env", "A"], ["--env", "NAME=VALUE"]),
                (["--job-name", "a b"], ["--job-name", "one word"]), (["--setup", ""], ["--setup", "one line"]),
                (["--stage", "scratch"], ["--stage", "node-local"]), (["--node", 3], ["--node"]), (["word"], ["word"]),
                (["--tasks-per-node", 3, "--gpus-per-node", 2], ["--tasks-per-node 3", "2 GPUs"]),
                (["--ib-hca", "mlx5"], ["--ib-hca", "--gpus-per-node"]), (["--gpu-type", "a100"], ["--gpu-type"]),
                (["--", "--run", "x"], ["--run", "before"]), (["--program", "none"], ["none", "no such program"])]:
            self.refused(self.submit("--dry-run", *words), 2, *said)
        self.refused(self.submit(config=self.path / "none.cfg"), 2, "none.cfg", "No such file")
        self.assertIn("--requeue-limit", self.submit("--help").stdout)

    def test_a_wrong_configuration_is_not_queued(self):
        (self.path / "bin" / "sbatch.script").unlink(missing_ok=True)
        bad = self.path / "bad.cfg"
        bad.write_text("[text]\nlora_rnak = 3\n")
        self.refused(self.submit("--", "--data.path", "x", config=bad), 2, "bad.cfg:2", "text.lora_rnak")
        self.refused(self.submit("--", "--batch", 0), 2, "batch")
        self.refused(self.submit("--", "--bacth", 3), 2, "bacth")
        self.refused(self.submit("--tasks-per-node", 4, "--", "--parallel.tensor", 3), 2, "parallel.tensor")
        self.refused(self.submit("--gpus-per-node", 1, "--", "--text.model", ROOT / "configs/shapes/llama-3-70b",
                                 "--text.layers", 0, "--precision", "bf16"), 2, "a rank needs", "H100")
        self.refused(self.submit("--machine", ROOT / "configs/machines/cpu-2core.cfg", "--", "--text.model",
                                 ROOT / "configs/shapes/llama-3-8b", "--text.layers", 0), 2, "a rank needs", "two cores")
        nothing = self.path / "nothing.cfg"
        nothing.write_text(f"text.model = {WEIGHTS}\n")
        self.refused(self.submit(config=nothing), 2, "data.path")
        self.assertFalse((self.path / "bin" / "sbatch.script").exists())

    def test_missing_data_and_weights(self):
        self.refused(self.submit("--", "--data.path", self.path / "none"), 3, "data.path", "index.json is missing")
        self.refused(self.submit("--", "--text.model", self.path / "none"), 3, "config.json")
        done = self.submit("--dry-run", "--", "--text.model", self.path / "none")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("submit: not checked: ", done.stderr)
        self.assertEqual(self.submit("--no-check", "--", "--data.path", self.path / "none").returncode, 0)

    def test_a_split_layout_is_checked(self):
        layout = ["--parallel.layout", "split"]
        done = self.submit("--tasks-per-node", 2, "--", *layout)
        self.assertIn("checked: encoder stage: 1 data x 1 tensor for the text", done.stderr)
        self.refused(self.submit("--tasks-per-node", 2, "--", *layout, "--batch", 0), 2, "batch")
        self.refused(self.submit("--tasks-per-node", 1, "--", *layout), 2, "split needs at least 2 ranks")

    def test_sbatch_missing_or_unwilling(self):
        bare = self.path / "bare"
        bare.mkdir()
        (bare / "python3").symlink_to(sys.executable)
        self.refused(self.submit(path=str(bare)), 2, "sbatch is not on PATH")
        done = self.submit(REFUSES="invalid partition specified: p")
        self.assertEqual(done.returncode, 2)
        self.assertIn("submit: error: sbatch: error: invalid partition specified: p", done.stderr)


if __name__ == "__main__":
    unittest.main()
