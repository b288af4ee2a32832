"""medfuse plan: tables on standard output, one line for what cannot be."""
import pathlib
import re
import tempfile
import unittest

from medfuse_cli import ROOT, medfuse

CONFIG = ROOT / "configs" / "mimic3.cfg"
SHAPES = ROOT / "configs" / "shapes"
MACHINES = ROOT / "configs" / "machines"


def plan(*arguments, model="llama-3-8b", **more):
    return medfuse("plan", "--config", CONFIG, "--text.model", SHAPES / model, *arguments, **more)


class Plan(unittest.TestCase):
    def refused(self, result, code, *words):
        self.assertEqual(result.code, code, result.err)
        self.assertEqual(len(result.errors), 1, result.err)
        for word in words:
            self.assertIn(word, result.errors[0])

    def test_memory_traffic_time_and_the_best_mesh(self):
        result = plan("--nodes", 2, "--gpus-per-node", 8)
        self.assertEqual(result.code, 0, result.err)
        self.assertEqual(result.errors, [])
        for words in ["16 ranks = 16 data x 1 tensor on 2 nodes", "frozen weights", "AdamW moments", "of 79.6 GiB",
                      "gradients", "tokens/s", "the fastest of"]:
            self.assertIn(words, result.out)

    def test_either_kind_of_ranks_of_the_split_layout(self):
        result = plan("--gpus-per-node", 8, "--parallel.layout", "split", "--parallel.lab_ranks", 2, "--parallel.tensor", 2)
        self.assertEqual(result.code, 0, result.err)
        for words in ["encoder stage: 3 data x 2 tensor for the text", "2 for the labs", "encoders, text", "encoders, labs",
                      "waiting for the other encoder"]:
            self.assertIn(words, result.out)

    def test_what_cannot_fit_is_refused_with_what_would(self):
        result = plan("--nodes", 1, "--gpus-per-node", 8, "--micro_batch", 64, "--batch", 512)
        self.refused(result, 2, "a rank needs", "has 79.6; with ")
        self.assertIn("not among them", plan("--gpus-per-node", 1, model="llama-3-70b").out)
        self.refused(plan("--gpus-per-node", 1, model="llama-3-70b"), 2, "no mesh of these 1 ranks fits")

    def test_the_change_that_is_named_is_enough(self):
        given = ["--gpus-per-node", 8, "--batch", 512, "--micro_batch", 64]
        line = plan(*given).errors[0]
        key, value = line.split("; with ")[1].split(" it needs")[0].split(" = ")
        given = given[:-2] if key == "micro_batch" else given
        self.assertEqual(plan(*given, f"--{key}", value).code, 0, line)

    def test_bad_inputs(self):
        self.refused(plan("--machine", MACHINES / "none.cfg"), 2, "none.cfg: no such file", "h100-sxm.cfg", "cpu-2core.cfg")
        self.refused(plan("--nodes", 0), 2, "--nodes 0")
        self.refused(plan("--text.max_tokens", 0), 2, "text.max_tokens = 0")
        self.refused(plan("--labels", 0), 2, "--labels 0")
        self.refused(plan("--parallel.layout", "split", "--gpus-per-node", 1), 2, "split needs at least 2 ranks")
        self.refused(plan("--parallel.layout", "split", "--parallel.lab_ranks", 9), 2, "numbers that work: 1 to 7")
        self.refused(plan("--gpus-per-node", -1), 2, "--gpus-per-node -1")
        self.refused(plan("--parallel.tensor", 3), 2, "parallel.tensor", "degrees that work")
        self.refused(plan("--gpus-per-node", 2, "--parallel.tensor", 8, "--nodes", 4), 2, "across_nodes")
        self.refused(plan(model="none"), 3, "config.json: is missing")
        self.refused(plan("--recompute", "some"), 2, "recompute")
        self.refused(plan(ranks=2), 2, "without mpirun")

    def test_a_model_without_end_is_refused_at_once(self):
        with tempfile.TemporaryDirectory() as folder:
            text = (SHAPES / "llama-3-8b" / "config.json").read_text()
            endless = text.replace('"num_hidden_layers": 32', '"num_hidden_layers": 1000000000')
            (pathlib.Path(folder) / "config.json").write_text(endless)
            self.refused(plan(model=folder, timeout=30), 3, f"{folder}/config.json", "num_hidden_layers", "1000000000",
                         "1 to 512")

    def test_machine_files_are_checked(self):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "mine.cfg"
            text = (MACHINES / "h100-sxm.cfg").read_text()
            path.write_text(text)
            self.assertEqual(plan("--machine", path).code, 0)
            path.write_text(text + "speed = 3\n")
            self.refused(plan("--machine", path), 2, "mine.cfg:", "network.speed")
            path.write_text(text.replace("attainable = 0.5", "attainable = 5"))
            self.refused(plan("--machine", path), 2, "flops.attainable = 5")
            path.write_text("name = empty\n")
            self.refused(plan("--machine", path), 2, "ranks = 0")
            path.write_text("".join(line for line in text.splitlines(True) if not line.startswith("context_mib")))
            self.refused(plan("--machine", path), 2, "context_mib is missing")
            path.write_text(re.sub("(?m)^memory_bandwidth = .*", "memory_bandwidth = 3.35", text))
            self.refused(plan("--machine", path), 2, "memory_bandwidth = 3.35", "bytes/s")


if __name__ == "__main__":
    unittest.main()
