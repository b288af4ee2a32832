"""The relocatable bundle: starts where Open MPI, HDF5 and the other libraries of this machine are out of sight."""
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

from medfuse_cli import ROOT, may_mount

LIBRARIES = pathlib.Path("/usr/lib/x86_64-linux-gnu")
# In a mount namespace of its own: folders become empty, files become unusable.
HIDE = """
set -e
for folder in "$1"/openmpi "$1"/pmix2 "$1"/hdf5 /usr/share/openmpi; do
  if [ -d "$folder" ]; then mount -t tmpfs none "$folder"; fi
done
for name in mpi open-rte open-pal pmix hwloc hdf5_serial boost_program_options fmt xxhash utf8proc csv; do
  for file in "$1"/lib$name.so* "$1"/lib$name-*.so*; do
    if [ -e "$file" ]; then mount --bind /dev/null "$file"; fi
  done
done
shift
exec "$@"
"""


class Bundle(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.scratch = tempfile.TemporaryDirectory()
        cls.folder = pathlib.Path(cls.scratch.name) / "bundle"
        made = cls.bundle(cls.folder)
        assert made.returncode == 0, made.stderr

    @classmethod
    def tearDownClass(cls):
        cls.scratch.cleanup()

    @staticmethod
    def bundle(folder, **environment):
        return subprocess.run([ROOT / "launch" / "bundle.sh", folder], capture_output=True, text=True,
                              env=os.environ | environment)

    def start(self, *arguments, python=sys.executable, hidden=True, program="medfuse", folder=ROOT):
        command = [self.folder / program, *arguments]
        if hidden:
            command = ["unshare", "-m", "bash", "-c", HIDE, "hide", LIBRARIES, *command]
        # Nothing of mpirun's or the build's may help.
        environment = {"PATH": os.environ["PATH"], "HOME": "/tmp", "MEDFUSE_PYTHON": str(python)}
        return subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment)

    @unittest.skipUnless(may_mount(), "this user may not make mount namespaces")
    def test_plans_and_measures_with_its_own_configurations(self):
        model = ["--text.model", "configs/shapes/llama-3-8b"]
        planned = self.start("plan", "--config", "configs/mimic3.cfg", *model, folder=self.folder)
        self.assertEqual(planned.returncode, 0, planned.stderr)
        self.assertIn("H100", planned.stdout)
        usage = self.start(program="medfuse_bench_finetune", folder=self.folder)
        self.assertEqual(usage.returncode, 2, usage.stderr)
        self.assertIn("usage: medfuse_bench_finetune SHAPE TOKENS TEXTS STEPS", usage.stderr)

    @unittest.skipUnless(may_mount(), "this user may not make mount namespaces")
    def test_runs_alone_without_the_libraries_of_the_machine(self):
        spoiled = subprocess.run(["unshare", "-m", "bash", "-c", HIDE, "hide", LIBRARIES, os.environ["MEDFUSE"], "info"],
                                 capture_output=True, text=True)
        self.assertNotEqual(spoiled.returncode, 0, "they are not hidden: the rest would prove nothing")
        info = self.start("info")
        self.assertEqual(info.returncode, 0, info.stderr)
        self.assertIn("self-test   passed", info.stdout)
        packed = pathlib.Path(self.scratch.name) / "packed"
        pack = self.start("pack", "--config", ROOT / "configs" / "demo.cfg", "--input",
                          ROOT / "data" / "samples" / "clinosim-mimic3", "--output", packed,
                          "--text.model", os.environ["MEDFUSE_WEIGHTS"])
        self.assertEqual(pack.returncode, 0, pack.stderr)
        self.assertTrue((packed / "index.json").exists())

    def test_leaves_out_torch_wherever_it_lies(self):
        names = sorted(path.name for path in (self.folder / "lib").iterdir())
        self.assertIn("libmpi.so.40", names)
        self.assertFalse([name for name in names if name.startswith(("libtorch", "libc10", "libcuda", "libnccl"))])
        # The same torch under another name, by which the program finds it.
        torch = pathlib.Path((ROOT / "build" / "torch_folders").read_text().splitlines()[0])
        elsewhere = pathlib.Path(self.scratch.name) / "elsewhere"
        elsewhere.symlink_to(torch.parent)
        again = pathlib.Path(self.scratch.name) / "again"
        made = self.bundle(again, LD_LIBRARY_PATH=str(elsewhere / torch.name / "lib"))
        self.assertEqual(made.returncode, 0, made.stderr)
        self.assertEqual(sorted(path.name for path in (again / "lib").iterdir()), names)

    def test_says_which_torch_it_needs(self):
        none = self.start("info", python="/bin/false", hidden=False)
        self.assertEqual(none.returncode, 2)
        self.assertIn("no torch 2.11.0 in /bin/false", none.stderr)

    def test_overwrites_nothing(self):
        again = self.bundle(self.folder)
        self.assertEqual(again.returncode, 2)
        self.assertIn("is there already", again.stderr)


if __name__ == "__main__":
    unittest.main()
