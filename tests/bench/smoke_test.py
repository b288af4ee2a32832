"""The benchmarks run with tiny sizes: their output has the shape that is documented, and wrong results end them."""
import json
import os
import pathlib
import subprocess
import tempfile
import unittest

ROOT = os.environ["MEDFUSE_ROOT"]
BUILD = os.environ["MEDFUSE_BUILD"]


def run(*command):
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)


def program(name, ranks, *arguments):
    return run("mpirun", "--oversubscribe", "--bind-to", "none", "-np", str(ranks), f"{BUILD}/bench/medfuse_bench_{name}",
               *arguments)


# Its states take more memory than its weights.
SHAPE = {"model_type": "llama", "vocab_size": 500, "hidden_size": 192, "intermediate_size": 768, "num_hidden_layers": 4,
         "num_attention_heads": 12, "num_key_value_heads": 6, "head_dim": 16}
LLAMA = "configs/shapes/llama-3-8b"


class Smoke(unittest.TestCase):
    def test_the_table_joins_all_three(self):
        for ranks in (2, 3):
            done = run("bench/run.sh", str(ranks), "1024", "65536", "2")
            self.assertEqual(done.returncode, 0, done.stderr)
            lines = done.stdout.splitlines()
            rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]
            self.assertEqual(len(rows), 3 * 4, done.stdout)
            self.assertEqual([row[0] for row in rows[:3]], ["all_reduce", "reduce_scatter", "all_gather"])
            for row in rows:
                self.assertEqual(len(row), 9)
                size, numbers = int(row[1]), [float(cell) for cell in row[2:]]
                self.assertEqual(size % (4 * ranks), 0)
                self.assertTrue(all(number >= 0 for number in numbers), row)
                factor = (2 if row[0] == "all_reduce" else 1) * (ranks - 1) / ranks
                for microseconds, bandwidth in zip(numbers[0:6:2], numbers[1:6:2]):
                    expected = size / microseconds * factor / 1e3
                    self.assertAlmostEqual(bandwidth, expected, delta=0.001 + 0.1 / microseconds * expected)

    def test_steps(self):
        if not os.path.exists(os.path.join(ROOT, ".deps/weights/smollm2-135m/config.json")):
            self.skipTest("no SmolLM2-135M: launch/weights.sh fetches it")
        done = program("steps", 2, "1", "1", "8")
        self.assertEqual(done.returncode, 0, done.stderr)
        head, row = done.stdout.splitlines()
        values = dict(zip(head.split(","), map(float, row.split(","))))
        self.assertEqual(list(values), ["ranks", "texts", "tokens", "together_ms", "alone_ms", "ratio", "exposed_ms"])
        self.assertAlmostEqual(values["ratio"], values["alone_ms"] / values["together_ms"], delta=0.01)
        self.assertLess(values["exposed_ms"], values["together_ms"])

    def test_the_table_of_memory(self):
        if not os.path.exists(os.path.join(ROOT, ".deps/weights/smollm2-135m/config.json")):
            self.skipTest("no SmolLM2-135M: launch/weights.sh fetches it")
        done = run("bench/memory.sh", "2", "1", "16")
        self.assertEqual(done.returncode, 0, done.stderr)
        rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in done.stdout.splitlines()[2:]]
        self.assertEqual([row[1] for row in rows], ["0", "1", "2", "3", "0", "0", "3"])
        peaks = [float(row[4]) for row in rows[:4]]
        self.assertEqual(peaks, sorted(peaks, reverse=True), "each zero level takes less")
        # Two blocks of thirty, the head and what is trained beside a half of the weights.
        self.assertLess(peaks[3], 0.7 * peaks[0])
        for row in rows:
            self.assertLess(abs(float(row[5]) / float(row[4]) - 1), 0.1, row)
        self.assertEqual(run("bench/memory.sh", "0").returncode, 2)

    def test_fine_tuning_takes_the_memory_that_is_planned(self):
        with tempfile.TemporaryDirectory() as folder:
            (pathlib.Path(folder) / "config.json").write_text(json.dumps(SHAPE))
            for ranks, more in ((1, []), (1, ["--recompute", "full", "--precision", "bf16"]),
                                (2, ["--parallel.zero", "3"]),
                                (2, ["--parallel.tensor", "2", "--parallel.sequence", "true"])):
                done = program("finetune", ranks, folder, "96", "2", "3", "--device", "cpu", *more)
                self.assertEqual(done.returncode, 0, done.stderr)
                job, head, *rows = done.stdout.splitlines()
                self.assertIn("LoRA rank 16 without dropout, 2 texts of 96 tokens a rank", job)
                self.assertEqual(head, "figure,measured,planned")
                figures = {name: (float(measured), float(planned)) for name, measured, planned in
                           (row.split(",") for row in rows)}
                self.assertEqual(list(figures), ["step_ms", "tokens_per_second_of_a_rank", "tensors_mib", "rank_mib"])
                measured, planned = figures["tensors_mib"]
                self.assertLess(abs(measured / planned - 1), 0.1, (more, measured, planned))
                share = 2 if "--parallel.tensor" in more else 1
                for step, rate in zip(figures["step_ms"], figures["tokens_per_second_of_a_rank"]):
                    self.assertAlmostEqual(rate * step * share / 1e3, 2 * 96, delta=0.1 * 2 * 96)

    def test_wrong_arguments_are_usage_errors(self):
        for name, arguments in (("collectives", ["1024"]), ("collectives", ["0", "8", "1"]), ("steps", ["1", "1", "x"]),
                                ("finetune", [LLAMA, "8", "1", "3", "--recompute", "some"]), ("finetune", [LLAMA, "8", "1", "2"]),
                                ("finetune", [LLAMA, "8", "1", "3", "--parallel.tensor", "5"]),
                                ("finetune", [LLAMA, "8", "1", "3", "--text.model", "x"])):
            self.assertEqual(program(name, 1, *arguments).returncode, 2, (name, arguments))


if __name__ == "__main__":
    unittest.main()
