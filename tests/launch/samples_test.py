"""The sample data sets pack with the configurations that come with them, and no configuration has drifted from the
program's options."""
import pathlib
import tempfile
import unittest

import h5py

from medfuse_cli import ROOT, WEIGHTS, medfuse


class Samples(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.path = pathlib.Path(self.folder.name)

    def pack(self, config, sample):
        output = self.path / sample
        result = medfuse("pack", "--config", ROOT / "configs" / config, "--input", ROOT / "data/samples" / sample,
                         "--output", output, "--text.model", WEIGHTS, ranks=2, cwd=ROOT)
        self.assertEqual(result.code, 0, result.err)
        shards = [h5py.File(path) for path in sorted(output.glob("shard-*.h5"))]
        for shard in shards:
            self.addCleanup(shard.close)
        return result, shards

    def test_mimic3_demo(self):
        result, shards = self.pack("mimic3-demo.cfg", "mimic3-demo")
        self.assertEqual(sum(len(s["admission"]) for s in shards), 129)
        self.assertEqual(shards[0]["labs/values"].shape[1], 40)
        self.assertIn("Hemoglobin", list(shards[0].attrs["lab_names"]))
        self.assertGreater(sum(int(s["labels"][...].sum()) for s in shards), 100)
        self.assertIn("LABEVENTS", result.out)

    def test_clinosim(self):
        _, shards = self.pack("demo.cfg", "clinosim-mimic3")
        self.assertEqual(sum(len(s["admission"]) for s in shards), 4776)
        splits = [int(v) for s in shards for v in s["split"][...]]
        self.assertEqual([splits.count(i) > 400 for i in range(3)], [True, True, True])
        for s in shards:
            lengths = s["tokens/offsets"][1:] - s["tokens/offsets"][:-1]
            self.assertLessEqual(int(lengths.max()), int(s.attrs["max_tokens"]))
            self.assertGreater(int(lengths.min()), 20)

    def test_every_configuration_is_understood(self):
        for config in sorted((ROOT / "configs").glob("*.cfg")):
            for command in ("pack", "train"):
                places = (["--input", self.path / "no-tables", "--output", self.path / "out"] if command == "pack" else
                          ["--data.path", self.path / "no-data", "--run", self.path / "run"])
                result = medfuse(command, "--config", config, *places, "--text.model", WEIGHTS, cwd=ROOT)
                self.assertEqual(result.code, 3, f"{config.name}: {result.err}")
                self.assertIn("no-tables" if command == "pack" else "no-data", result.err)


if __name__ == "__main__":
    unittest.main()
