"""What makes a job stop with a checkpoint and go back to the queue: its time limit, a signal, a preemption. The run goes on
and ends with the weights of one that nothing happened to."""
import unittest

from slurm_case import SlurmCase

ONE_NODE = ["--nodes", "1", "--tasks-per-node", "2"]


class Signals(SlurmCase):
    steps = {"encoders": 40, "fusion": 120}  # enough for Slurm to come in between

    def goes_on(self, job, *said):
        """The job starts once more, and ends with the right weights; its log says so."""
        log = self.ended(job, restarts=1)
        self.assertIn("exit code 85: back in the queue", log)
        for text in said:
            self.assertIn(text, log)
        self.assert_equal_uninterrupted(job)

    def test_time_limit_that_changes(self):
        """The run asks Slurm again and again, and stops when a step, a checkpoint and the margin would no longer fit."""
        job = self.submit("--time", "30", training=["--stop.margin", "70", "--stop.slurm_every", "0.2"])
        self.reached(job, 45)
        self.slurm.call("scontrol", "update", f"JobId={job.number}", "TimeLimit=1")
        self.until(lambda: job.state() == "PENDING", "its return to the queue")
        self.slurm.call("scontrol", "update", f"JobId={job.number}", "TimeLimit=30")
        self.goes_on(job, "left of the job's time")

    def test_scancel_signal(self):
        """Under srun, and under mpirun on one node, whose ranks are no step of the job."""
        jobs = [self.submit(run="signal-srun"), self.submit("--launcher", "mpirun", mesh=ONE_NODE, run="signal-mpirun")]
        for job in jobs:
            self.reached(job, 45)
            self.slurm.call("scancel", "--signal=USR1", job.number)
        for job in jobs:
            self.goes_on(job, "stopped: SIGUSR1")

    def test_preempted(self):
        """Under srun, and under mpirun, whose daemons must outlive the signal."""
        jobs = [self.submit(run="preempted-srun"), self.submit("--launcher", "mpirun", run="preempted-mpirun")]
        for job in jobs:
            self.reached(job, 5)
        urgent = self.slurm.call("sbatch", "--parsable", "--partition=urgent", f"--nodes={len(self.slurm.nodes)}",
                                 "--exclusive", "--output=/dev/null", "--wrap=true")
        for job in jobs:
            self.goes_on(job, "stopped: SIG")
        self.assertIn(" JobState=COMPLETED ", self.slurm.call("scontrol", "show", "job", "-o", urgent))


if __name__ == "__main__":
    unittest.main()
