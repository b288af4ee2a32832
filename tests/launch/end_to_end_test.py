"""The main job on a small real input: pack, train on several ranks, stop, continue, evaluate, predict, embed."""
import csv
import json
import pathlib
import stat
import subprocess
import tempfile
import unittest

import h5py
import numpy

from medfuse_cli import WEIGHTS, medfuse, small_tables, write_config


class EndToEnd(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.path = pathlib.Path(cls.folder.name)
        cls.tables = small_tables(cls.path / "tables")
        cls.config = write_config(cls.path / "small.cfg", shard_samples=16)
        cls.packed = cls.path / "packed"
        result = medfuse("pack", "--config", cls.config, "--input", cls.tables, "--output", cls.packed, ranks=2)
        assert result.code == 0, result.err
        cls.run_folder = cls.path / "run"
        result = cls.train(cls.run_folder, ranks=2)
        assert result.code == 0, result.err

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    @classmethod
    def train(cls, run, *more, ranks=2):
        return medfuse("train", "--config", cls.config, "--data.path", cls.packed, "--run", run, *more, ranks=ranks)

    def test_packing_is_the_same_on_any_number_of_ranks(self):
        for ranks in (1, 3):
            other = self.path / f"packed{ranks}"
            self.assertEqual(medfuse("pack", "--config", self.config, "--input", self.tables, "--output", other,
                                     ranks=ranks).code, 0)
            names = sorted(p.name for p in self.packed.iterdir())
            self.assertEqual(names, sorted(p.name for p in other.iterdir()))
            for name in names:
                self.assertEqual((self.packed / name).read_bytes(), (other / name).read_bytes(), name)

    def test_h5py_and_h5ls_read_the_packed_data(self):
        shards = sorted(self.packed.glob("*.h5"))
        self.assertGreater(len(shards), 2)
        with h5py.File(shards[0]) as file:
            values, observed = file["labs/values"][...], file["labs/observed"][...]
            rows = len(values)
            self.assertEqual(observed.shape, (rows, 12))
            self.assertEqual(file["labels"].shape, (rows, 10))
            self.assertGreater(len(file.attrs), 5)
            self.assertTrue(numpy.all(values[observed == 0] == 0))
        self.assertEqual(subprocess.run(["h5ls", "-r", shards[0]], capture_output=True).returncode, 0)

    def test_files_are_private(self):
        for path in [*self.packed.rglob("*"), *self.run_folder.rglob("*")]:
            self.assertEqual(stat.S_IMODE(path.stat().st_mode) & 0o077, 0, path)

    def test_metrics(self):
        lines = [json.loads(line) for line in (self.run_folder / "metrics.jsonl").read_text().splitlines()]
        self.assertEqual([(line["stage"], line["step"]) for line in lines],
                         [(stage, step) for stage in ("encoders", "fusion") for step in range(1, 5)])
        for key in ("epoch", "loss", "learning_rate", "grad_norm", "tokens_per_second", "samples_per_second", "seconds"):
            self.assertIn(key, lines[0])

    def test_stopped_and_continued_equals_uninterrupted(self):
        run = self.path / "stopped"
        stopped = self.train(run, "--stop.after", "0.001")
        self.assertEqual(stopped.code, 85, stopped.err)
        early = medfuse("predict", "--run", run, "--data", self.packed, "--output", self.path / "early.csv")
        self.assertEqual(early.code, 0, early.err)
        self.assertIn("training has not finished (stage encoders, step 1 of all stages)", early.err)
        self.assertIn("labs are not used yet", early.err)
        codes = []
        while len(codes) < 12 and (not codes or codes[-1] == 85):
            codes.append(self.train(run, "--stop.after", "0.001").code)
        self.assertEqual(codes[-1], 0, codes)
        self.assertGreater(len(codes), 3)
        loss = lambda folder: [json.loads(line)["loss"] for line in (folder / "metrics.jsonl").read_text().splitlines()]
        self.assertEqual(loss(run), loss(self.run_folder))
        self.assertEqual(self.train(run, ranks=1).code, 0, "a finished run has nothing to do")

    def test_a_run_goes_from_the_split_layout_to_the_interleaved_one(self):
        lines = lambda folder: [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        run = self.path / "split"
        split = ["--parallel.layout", "split", "--parallel.lab_ranks", 2]
        stopped = self.train(run, *split, "--stop.after", "0.001", ranks=3)
        self.assertEqual(stopped.code, 85, stopped.err)
        self.assertIn("encoder stage: 1 data x 1 tensor for the text, 2 for the labs", stopped.err)
        self.assertEqual(len(lines(run)), 1)
        finished = self.train(run)
        self.assertEqual(finished.code, 0, finished.err)
        self.assertIn("continuing behind step 1", finished.err)
        whole = self.path / "split-whole"
        self.assertEqual(self.train(whole, *split, ranks=3).code, 0)
        for folder in (run, whole):
            for line, expected in zip(lines(folder), lines(self.run_folder), strict=True):
                self.assertEqual(line.keys(), expected.keys())
                for key in ("loss", "text_loss", "lab_loss", "prediction_loss", "grad_norm", "learning_rate"):
                    if key in expected:
                        self.assertAlmostEqual(line[key] / expected[key], 1, 4, (folder, expected["stage"], key))

    def test_evaluate(self):
        result = medfuse("evaluate", "--run", self.run_folder, ranks=2)
        self.assertEqual(result.code, 0, result.err)
        scores = json.loads((self.run_folder / "evaluation.json").read_text())
        for key in ("macro_f1", "micro_f1", "macro_precision", "macro_recall", "accuracy", "macro_auroc", "macro_auprc"):
            self.assertIn(key, scores)
        self.assertIn("copd", scores["threshold"])
        self.assertTrue(0 <= scores["disentanglement"]["shared_auroc"] <= 1)
        self.assertIn("<svg", (self.run_folder / "report.html").read_text())
        one_rank = medfuse("evaluate", "--run", self.run_folder)
        self.assertEqual(one_rank.code, 0, one_rank.err)
        again = json.loads((self.run_folder / "evaluation.json").read_text())
        self.assertAlmostEqual(scores["macro_auroc"], again["macro_auroc"], 4)

    def test_new_patients_without_labels(self):
        tables = small_tables(self.path / "new", 8)
        (tables / "DIAGNOSES_ICD.csv").unlink()
        packed = self.path / "new-packed"
        result = medfuse("pack", "--like", self.run_folder, "--input", tables, "--output", packed)
        self.assertEqual(result.code, 0, result.err)
        output = self.path / "predictions.csv"
        result = medfuse("predict", "--run", self.run_folder, "--data", packed, "--output", output, ranks=2)
        self.assertEqual(result.code, 0, result.err)
        with open(output, newline="") as table:
            rows = list(csv.reader(table))
        with h5py.File(next(packed.glob("*.h5"))) as file:
            self.assertEqual([int(row[0]) for row in rows[1:]], list(file["admission"][...]))
        self.assertEqual(len(rows[0]), 11)
        self.assertTrue(all(0 <= float(cell) <= 1 for row in rows[1:] for cell in row[1:]))

    def test_new_patients_with_labels_are_scored_by_the_runs_thresholds(self):
        packed = self.path / "labelled"
        result = medfuse("pack", "--like", self.run_folder, "--input", self.tables, "--output", packed)
        self.assertEqual(result.code, 0, result.err)
        before = (self.run_folder / "evaluation.json").exists() and (self.run_folder / "evaluation.json").read_bytes()
        result = medfuse("evaluate", "--run", self.run_folder, "--data", packed)
        self.assertEqual(result.code, 0, result.err)
        scores = json.loads((self.run_folder / f"evaluation.{self.path.name}-labelled.json").read_text())
        with_all = sum(len(h5py.File(shard)["admission"]) for shard in packed.glob("*.h5"))
        self.assertEqual(scores["samples"], with_all)
        after = (self.run_folder / "evaluation.json").exists() and (self.run_folder / "evaluation.json").read_bytes()
        self.assertEqual(before, after, "the run's own result was touched")

    def test_stages_may_be_added_but_not_reordered(self):
        run = self.path / "staged"
        self.assertEqual(self.train(run, "--stages", "encoders").code, 0)
        result = self.train(run, "--stages", "fusion")
        self.assertEqual(result.code, 2, result.err)
        self.assertIn("encoders", result.errors[0])
        self.assertEqual(self.train(run).code, 0)
        loss = lambda folder: [json.loads(line)["loss"] for line in (folder / "metrics.jsonl").read_text().splitlines()]
        self.assertEqual(loss(run), loss(self.run_folder))

    def test_a_run_works_from_any_folder(self):
        config = self.path / "small.cfg"
        result = medfuse("train", "--config", config, "--data.path", "packed", "--run", "relative", "--encoders.steps", "1",
                         "--fusion.steps", "1", cwd=self.path)
        self.assertEqual(result.code, 0, result.err)
        self.assertEqual(medfuse("evaluate", "--run", self.path / "relative", cwd="/").code, 0)

    def test_embed(self):
        lines = self.path / "lines.txt"
        lines.write_text("chest pain\nshortness of breath for three days\nfever\n")
        output = self.path / "lines.h5"
        result = medfuse("embed", "--model", WEIGHTS, "--input", lines, "--output", output, ranks=2)
        self.assertEqual(result.code, 0, result.err)
        with h5py.File(output) as file:
            self.assertEqual(file["embedding"].shape, (3, 576))
        samples = self.path / "samples.h5"
        self.assertEqual(medfuse("embed", "--run", self.run_folder, "--output", samples).code, 0)
        with h5py.File(samples) as file:
            self.assertEqual(file["embedding"].shape[0], file["admission"].shape[0])

    def test_tokenize(self):
        result = medfuse("tokenize", "--tokenizer", WEIGHTS, stdin=b"Chest pain\n\n")
        self.assertEqual(result.code, 0, result.err)
        lines = result.out.split("\n")
        self.assertEqual(lines[1], "")
        self.assertTrue(all(int(word) >= 0 for word in lines[0].split()))

    def test_checkpoints_are_sound(self):
        result = medfuse("checkpoint", "verify", "--run", self.run_folder)
        self.assertEqual(result.code, 0, result.err)
        self.assertIn("sound", result.out)

    def test_info(self):
        result = medfuse("info", ranks=2)
        self.assertEqual(result.code, 0, result.err)
        for word in ("NCCL", "MPI", "HDF5", "rank 1"):
            self.assertIn(word, result.out)


if __name__ == "__main__":
    unittest.main()
