"""Jobs on a real Slurm: to the end, given back to the queue, given up, cancelled, and gone on with on other ranks."""
import json
import os
import shutil
import signal
import unittest

from medfuse_cli import WEIGHTS
from slurm_case import ROOT, SlurmCase


class Jobs(SlurmCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        # These wait for Slurm most of the time: they do it while the others run.
        one = {"mesh": ["--nodes", "1", "--tasks-per-node", "1"]}
        waits = cls.program("waits.sh", "trap 'exit 85' USR2; [ ! -e \"$0.seen\" ] || exit 0; touch \"$0.seen\"\n"
                            "while true; do sleep 0.2; done")
        cls.waiting = cls.queue("waiting", "--program", waits, "--no-check", "--time", "1", "--signal", "USR2@40", **one)
        dies = cls.program("dies.sh", "kill -KILL $$")
        cls.dying = cls.queue("dying", "--program", dies, "--no-check", "--failure-limit", "2", **one)
        # Nobody warns this one of its limit, and its ranks stand still until then.
        cls.overtime = cls.queue("overtime", "--time", "1", "--signal", "USR1@0", training=["--stop.slurm_every", "0"])
        cls.reached(cls.overtime, 25)
        for rank in cls.overtime.ranks():
            os.kill(rank, signal.SIGSTOP)

    @classmethod
    def program(cls, name, text):
        """What stands in for medfuse where its training does not matter."""
        path = cls.path / name
        path.write_text(f"#!/bin/bash\n{text}\n")
        path.chmod(0o755)
        return path

    def test_runs_to_the_end(self):
        """Under srun, and under mpirun with the data staged, on two nodes each."""
        srun = self.submit(run="srun")
        mpirun = self.submit("--launcher", "mpirun", "--stage", self.slurm.local, run="mpirun")
        self.ended(srun)
        self.ended(mpirun)
        self.assertEqual(len(srun.nodes()), 2)
        self.assert_equal_uninterrupted(srun)
        self.assert_equal_uninterrupted(mpirun)
        self.assertIn(f"path = {self.slurm.local}/medfuse-{mpirun.number}\n", (mpirun.run / "config.cfg").read_text())
        self.assertEqual(self.copies(), [], "patients' data are left behind")
        self.assertNotIn("may be left", mpirun.log())

    def test_stopped_with_a_checkpoint_it_starts_again(self):
        """As often as it may; and submitted anew, on another number of tasks, it goes on."""
        job = self.submit("--requeue-limit", "1", training=["--stop.after", "0.1"])
        log = self.ended(job, "FAILED", restarts=1, code="85:0")
        for text in ["start 1 of at most 2", "exit code 85: back in the queue", "start 2 of at most 2",
                     "exit code 85: started again 1 times, which is the limit"]:
            self.assertIn(text, log)
        # Slurm itself does not know that bound, nor does who requeues a job by hand.
        self.slurm.call("scontrol", "requeue", job.number)
        self.assertIn("started again 2 times, more than 1", self.ended(job, "FAILED", restarts=2, code="4:0"))
        again = self.submit(mesh=["--nodes", "1", "--tasks-per-node", "3"])
        self.ended(again)
        self.assert_close_to_uninterrupted(again)

    def test_requeued_by_hand_it_goes_on(self):
        job = self.submit()
        self.reached(job, 45)
        self.slurm.call("scontrol", "requeue", job.number)
        self.assertIn("start 2 of", self.ended(job, restarts=1))
        self.assert_equal_uninterrupted(job)

    def copies(self):
        return [path for node in self.slurm.nodes for path in (self.slurm.folder / f"local-{node}").glob("medfuse-*")]

    def test_told_to_stop_while_data_are_copied(self):
        tools = self.path / "slow"
        tools.mkdir()
        slow = tools / "cp"
        slow.write_text('#!/bin/sh\n[ -e "$0.seen" ] || { touch "$0.seen"; sleep 60; }\nexec /bin/cp "$@"\n')
        slow.chmod(0o755)
        job = self.submit("--stage", self.slurm.local, "--env", f"PATH={tools}:{os.environ['PATH']}")
        self.until(lambda: (tools / "cp.seen").exists(), "the beginning of the copy")
        self.slurm.call("scancel", "--signal=USR1", job.number)
        log = self.ended(job, restarts=1)
        self.assertIn("told to stop while", log)
        self.assertIn("exit code 85: back in the queue", log)
        self.assertEqual(self.copies(), [])
        self.assert_equal_uninterrupted(job)

    def test_cancelled_it_does_not_come_back(self):
        """Nor does it leave anything on the nodes, though Slurm lets it start nothing more there."""
        job = self.submit("--stage", self.slurm.local)
        self.reached(job, 10)
        self.assertEqual(len(self.copies()), 2)
        self.slurm.call("scancel", job.number)
        self.until(lambda: "the rest is up to Slurm" in job.log(), "the script's last word")
        self.until(lambda: not self.copies(), "the removal of patients' data")
        self.ended(job, "CANCELLED", code="85:0")  # with a checkpoint, should it be wanted again

    def test_wrong_configuration_is_never_started_again(self):
        self.ended(self.submit(training=["--text.lora_rank", "8", "--fusion.steps", "1"]))
        # What no check before the queue can know: that run was started with other settings.
        log = self.ended(self.submit(), "FAILED", code="2:0")
        self.assertIn("text.lora_rank: 8 -> 4", log)
        self.assertIn("exit code 2: starting again would not help", log)

    def test_codes_outlive_the_kills_behind_mpi_abort(self):
        """A full disk under one rank, and a loss that is not finite: MPI_Abort, behind which Slurm kills who is left."""
        fault = {"LD_PRELOAD": os.environ["MEDFUSE_FAULT_SHIM"], "MEDFUSE_FAULT": "all-ENOSPC:3",
                 "MEDFUSE_FAULT_PATH": "/.step-", "MEDFUSE_FAULT_RANK": 1}
        full = self.submit(*[word for name, value in fault.items() for word in ("--env", f"{name}={value}")], run="full")
        broken = self.submit(run="broken", training=["--text.model", self.broken_weights()])
        for job, code, text in [(full, 3, "the disk may be full"), (broken, 5, "not finite 5 times in a row")]:
            log = self.ended(job, "FAILED", code=f"{code}:0")
            self.assertIn(text, log)
            self.assertIn(f"exit code {code}: starting again would not help", log)

    def broken_weights(self):
        """The base model with one weight that is not a number."""
        folder = self.path / "not-a-number"
        shutil.copytree(WEIGHTS, folder)
        with open(folder / "model.safetensors", "r+b") as file:
            length = int.from_bytes(file.read(8), "little")
            norm = json.loads(file.read(length))["model.norm.weight"]
            self.assertEqual(norm["dtype"], "F32")
            file.seek(8 + length + norm["data_offsets"][0])
            file.write(b"\0\0\xc0\x7f")
        return folder

    def test_data_that_cannot_be_staged_end_the_job(self):
        log = self.ended(self.submit("--stage", "/dev/null"), "FAILED", code="3:0")
        self.assertIn("stage: error: node2: /dev/null/medfuse-", log)
        self.assertIn(f"{self.path}/packed: could not be copied to /dev/null on every node", log)

    def test_what_always_dies_is_given_up(self):
        log = self.ended(self.dying, "FAILED", restarts=1, code="137:0")
        self.assertIn("failed 2 times in a row without a new checkpoint", log)

    def test_time_limit_signalled_by_slurm(self):
        log = self.ended(self.waiting, restarts=1)
        self.assertIn("got SIGUSR2: passed on as SIGUSR2", log)
        self.assertIn("exit code 85: back in the queue", log)

    def test_time_limit_that_is_reached(self):
        """Slurm tells everybody to end, and gives them a few seconds: enough for a checkpoint. It would not start such a job
        again by itself."""
        log = self.ended(self.overtime, restarts=1, seconds=180)  # limits are looked at twice a minute
        self.assertIn("DUE TO TIME LIMIT", log)
        self.assertIn("exit code 85: back in the queue", log)
        self.assert_equal_uninterrupted(self.overtime)

    def test_gpus(self):
        """Pretended ones: Slurm takes the scripts, and every rank is shown all GPUs of its node."""
        for node in self.slurm.gpu_nodes:
            self.slurm.start_node(node)
            self.addCleanup(self.slurm.kill, node)
        self.slurm.wait_for_nodes(self.slurm.gpu_nodes)
        for path in sorted((ROOT / "slurm").glob("llama-*.sh")):
            self.slurm.call("sbatch", "--test-only", "--partition=gpu", path)
        shows = self.program("shows.sh", "echo rank ${OMPI_COMM_WORLD_RANK:-$SLURM_PROCID} of $(hostname): "
                             "$CUDA_VISIBLE_DEVICES and $OMP_NUM_THREADS threads; sleep 1")
        # Nor does it matter to the ranks that sbatch takes nothing along, as some sites advise.
        for words in (["--launcher", "srun", "--stage", self.slurm.local, "--sbatch=--export=NONE"], ["--launcher", "mpirun"]):
            job = self.submit("--partition", "gpu", "--gpus-per-node", "2", "--cpus-per-task", "3", *words,
                              "--program", shows, "--no-check", run=f"gpus-{words[1]}", mesh=["--nodes", "2"])
            log = self.ended(job)
            for rank in range(4):
                self.assertIn(f"rank {rank} of gpu{1 + rank // 2}: 0,1 and 3 threads\n", log)


if __name__ == "__main__":
    unittest.main()
