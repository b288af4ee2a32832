"""One run that goes on from mesh to mesh (data x tensor): 2x1, 1x3, 4x1, 1x1, in either stage, with other ways to share on
each. Its losses and its last checkpoint are those of a run of one rank that nobody stopped."""
import signal
import unittest

from medfuse_cli import ENVIRONMENT, PROGRAM, medfuse
from training_run import Job, RunCase, checkpoints, metrics, tensors

STEPS = 20  # of each stage
# Ranks, and how they share: together all zero levels, both layouts, and tokens shared between projections.
MESHES = {
    "encoders": [
        (2, {"parallel.zero": 1}),
        (3, {"parallel.tensor": 3}),
        (4, {"parallel.zero": 3, "parallel.layout": "split", "parallel.lab_ranks": 1}),
        (1, {}),
    ],
    "fusion": [
        (2, {"parallel.zero": 3}),
        (3, {"parallel.tensor": 3, "parallel.sequence": "yes"}),
        (4, {"parallel.zero": 2, "micro_batch": 1}),
    ],
}
# Of float64, where all that differs is the order of sums: 1e-16 a sum, over thousands of them and 40 steps of Adam.
TOLERANCE = 1e-8
LEARNING_RATE = 1e-3


class Meshes(RunCase):
    settings = {"encoders.steps": STEPS, "fusion.steps": STEPS, "checkpoint.every": 0, "precision": "f64",
                "learning_rate": LEARNING_RATE}

    def leg(self, run, ranks, options, stage):
        """Goes on for at least two steps of the stage, on these ranks; returns how many it were."""
        before = len(metrics(run))
        more = [word for key, value in options.items() for word in (f"--{key}", value)]
        job = Job(["mpirun", "--oversubscribe", "--bind-to", "none", "-np", ranks, PROGRAM, *self.training(run, *more)],
                  self.path / f"log-{before}", ENVIRONMENT)
        self.addCleanup(job.end)
        job.until(lambda: len([line for line in metrics(run)[before:] if line["stage"] == stage]) >= 2, "two steps")
        job.process.send_signal(signal.SIGUSR1)
        self.assertEqual(job.wait(), 85, job.text())
        if before:
            self.assertIn(f"continuing behind step {before}\n", job.text())
        tensor = options.get("parallel.tensor", 1)
        if ranks > 1:
            self.assertIn(f"mesh: {ranks} ranks = {ranks // tensor} data x {tensor} tensor", job.text())
        return len(metrics(run)) - before

    def test_a_run_goes_on_from_mesh_to_mesh(self):
        whole, run = self.undisturbed("whole", ranks=0), self.path / "run"
        legs = [self.leg(run, ranks, options, stage) for stage, meshes in MESHES.items() for ranks, options in meshes]
        done = medfuse(*self.training(run))
        self.assertEqual(done.code, 0, done.err)

        ours, theirs = metrics(run), metrics(whole)
        self.assertEqual([(line["stage"], line["step"]) for line in ours], [(line["stage"], line["step"]) for line in theirs])
        self.assertEqual(len(ours), 2 * STEPS)
        apart = {}
        for mine, oracle in zip(ours, theirs):
            for key in oracle.keys() - {"stage", "step", "seconds", "tokens_per_second", "samples_per_second"}:
                difference = abs(mine[key] - oracle[key]) / max(1, abs(oracle[key]))
                apart[key] = max(apart.get(key, 0), difference)
        weights, expected = tensors(checkpoints(run)[-1]), tensors(checkpoints(whole)[-1])
        self.assertEqual(weights.keys(), expected.keys())
        self.assertGreater(len(expected), 20)
        apart["weights"] = max(abs(weights[name] - value).max() / max(abs(value).max(), LEARNING_RATE)
                               for name, value in expected.items())
        print(f"legs {legs}, largest differences {apart}")
        for key, difference in apart.items():
            self.assertLess(difference, TOLERANCE, key)
        losses = {line["loss"] for line in theirs}
        self.assertEqual(len(losses), 2 * STEPS, "nothing was learned")


if __name__ == "__main__":
    unittest.main()
