"""A node dies with all that runs on it: under srun, where Slurm notices, and under mpirun, which notices first."""
import unittest

from slurm_case import SlurmCase


class Faults(SlurmCase):
    nodes = 4
    # The first job must still be at work when the last one has come as far: three start at once, one after the other.
    steps = {"encoders": 40, "fusion": 200}

    def test_nodes_die(self):
        """The second one of two jobs, and at the same time the first one of another, where its batch script runs."""
        srun, mpirun = self.submit(run="srun"), self.submit("--launcher", "mpirun", run="mpirun")
        # All CPUs of its nodes: so it is on others.
        batch = self.submit("--cpus-per-task", "4", "--env", "OMP_NUM_THREADS=1", run="batch")
        jobs = [srun, mpirun, batch]
        for job in jobs:
            self.reached(job, 25)
        lost = {srun.nodes()[1], batch.nodes()[0]}
        self.assertEqual(mpirun.nodes(), srun.nodes())
        self.assertEqual(len({*srun.nodes(), *batch.nodes()}), 4)
        for node in lost:
            self.slurm.kill(node)
        for job in jobs:
            self.assertIn("start 2 of", self.ended(job, restarts=1))
            self.assertEqual(lost & set(job.nodes()), set())
            self.assert_equal_uninterrupted(job)
        self.assertNotIn("back in the queue", srun.log())
        self.assertRegex(mpirun.log(), r"exit code (1|4|1[3-9]\d|2\d\d): back in the queue")


if __name__ == "__main__":
    unittest.main()
