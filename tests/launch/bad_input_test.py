"""Bad input: one line naming the thing and the remedy, the right exit code, on one rank, and no rank left running."""
import json
import pathlib
import shutil
import tempfile
import unittest

from medfuse_cli import WEIGHTS, medfuse, small_tables, write_config


class BadInput(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.path = pathlib.Path(cls.folder.name)
        cls.tables = small_tables(cls.path / "tables", 30)
        cls.config = write_config(cls.path / "small.cfg")
        cls.packed = cls.path / "packed"
        result = medfuse("pack", "--config", cls.config, "--input", cls.tables, "--output", cls.packed)
        assert result.code == 0, result.err

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def refused(self, result, code, *words):
        self.assertEqual(result.code, code, result.err)
        self.assertEqual(len(result.errors), 1, result.err)
        for word in words:
            self.assertIn(word, result.errors[0])

    def train(self, *more, packed=None, run=None, ranks=2):
        return medfuse("train", "--config", self.config, "--data.path", packed or self.packed, "--run",
                       run or self.path / f"run-{self.id().rsplit('.', 1)[-1]}", *more, ranks=ranks)

    def model(self, name):
        """A copy of the weights' folder whose large file is a link."""
        folder = self.path / name
        folder.mkdir()
        for file in ("config.json", "tokenizer.json"):
            shutil.copy(WEIGHTS / file, folder)
        (folder / "model.safetensors").symlink_to(WEIGHTS / "model.safetensors")
        return folder

    def test_weights_of_another_shape(self):
        folder = self.model("reshaped")
        config = json.loads((folder / "config.json").read_text())
        config["intermediate_size"] = 1000
        (folder / "config.json").write_text(json.dumps(config))
        self.refused(self.train("--text.model", folder), 3, "model.layers.0.mlp", "1000")

    def test_truncated_safetensors(self):
        folder = self.model("truncated")
        (folder / "model.safetensors").unlink()
        with open(WEIGHTS / "model.safetensors", "rb") as whole:
            (folder / "model.safetensors").write_bytes(whole.read(3_000_000))
        self.refused(self.train("--text.model", folder), 3, "model.safetensors")

    def test_no_weights(self):
        self.refused(self.train("--text.model", self.path / "nothing"), 3, "nothing")

    def test_a_mesh_that_the_model_refuses_is_told_before_anything_is_opened(self):
        self.refused(self.train("--parallel.tensor", 2, packed="/nowhere"), 2, "parallel.tensor: 2", "9 heads",
                     "degrees that work: 1")
        self.refused(self.train("--parallel.tensor", 4, packed="/nowhere", ranks=6), 2, "4 does not divide the 6 ranks",
                     "degrees that work: 1, 3")
        self.refused(self.train(packed="/nowhere"), 3, "/nowhere")

    def test_lora_layers(self):
        self.refused(self.train("--text.lora_layers", "last:0"), 2, "text.lora_layers", "last:N")

    def test_a_loss_that_is_not_finite(self):
        path = self.model("poisoned") / "model.safetensors"
        path.unlink()
        shutil.copy(WEIGHTS / "model.safetensors", path)
        with open(path, "r+b") as weights:
            length = int.from_bytes(weights.read(8), "little")
            norm = json.loads(weights.read(length))["model.layers.0.input_layernorm.weight"]
            weights.seek(8 + length + norm["data_offsets"][0])
            weights.write(b"\xff\xff\xff\xff")  # not a number, in every floating type
        run = self.path / "run-poisoned"
        self.refused(self.train("--text.model", path.parent, run=run), 5, "not finite")
        self.assertEqual(list(run.glob("checkpoints/step-*")), [], "nothing of it is kept")

    def test_corrupted_packed_file(self):
        packed = self.path / "flipped"
        shutil.copytree(self.packed, packed)
        shard = next(packed.glob("*.h5"))
        content = bytearray(shard.read_bytes())
        content[len(content) // 2] ^= 1
        shard.write_bytes(content)
        self.refused(self.train(packed=packed), 3, shard.name, "pack")

    def test_missing_shard(self):
        packed = self.path / "missing"
        shutil.copytree(self.packed, packed)
        next(packed.glob("*.h5")).unlink()
        self.refused(self.train(packed=packed), 3, ".h5")

    def test_tokenizer_of_another_model(self):
        folder = self.model("tokenizer")
        (folder / "tokenizer.json").write_text((folder / "tokenizer.json").read_text() + " ")
        self.refused(self.train("--text.model", folder), 3, "tokenizer", "pack again")

    def pack(self, *more, tables=None, ranks=2):
        return medfuse("pack", "--config", self.config, "--input", tables or self.tables, "--output",
                       self.path / "never", *more, ranks=ranks)

    def test_label_file_naming_no_disease(self):
        empty = self.path / "none.csv"
        empty.write_text("disease,icd9_prefix\n")
        self.refused(self.pack("--diseases", empty), 3, "none.csv")

    def test_empty_table(self):
        tables = self.path / "empty"
        shutil.copytree(self.tables, tables)
        header = (tables / "ADMISSIONS.csv").read_text().splitlines()[0]
        (tables / "ADMISSIONS.csv").write_text(header + "\n")
        self.refused(self.pack(tables=tables), 3, "ADMISSIONS.csv")

    def test_missing_table_and_column(self):
        tables = self.path / "lacking"
        shutil.copytree(self.tables, tables)
        (tables / "LABEVENTS.csv").write_text("HADM_ID,CHARTTIME\n1,2\n")
        self.refused(self.pack(tables=tables), 3, "LABEVENTS.csv", "ITEMID")
        (tables / "LABEVENTS.csv").unlink()
        self.refused(self.pack(tables=tables), 3, "LABEVENTS")

    def test_bad_row_stops_when_asked(self):
        tables = self.path / "badrow"
        shutil.copytree(self.tables, tables)
        with open(tables / "LABEVENTS.csv", "a") as table:
            table.write("1,10001,999999999,50861,2152-05-11 16:09:06,44.0,44.0,IU/L,\n")
        self.refused(self.pack("--bad_rows", "stop", tables=tables), 3, "LABEVENTS.csv")
        self.assertEqual(self.pack("--bad_rows", "skip", tables=tables).code, 0)

    def test_fewer_samples_than_ranks(self):
        tables = small_tables(self.path / "few", 2)
        packed = self.path / "few-packed"
        self.assertEqual(medfuse("pack", "--config", self.config, "--input", tables, "--output", packed, "--split.train",
                                 "1", "--split.validation", "0").code, 0)
        self.refused(self.train(packed=packed, ranks=6), 3, "ranks")

    def test_run_folder_of_another_model(self):
        run = self.path / "taken"
        self.assertEqual(self.train("--encoders.steps", "1", "--fusion.steps", "1", run=run).code, 0)
        self.refused(self.train("--encoders.steps", "1", "--fusion.steps", "1", "--labs.width", "32", run=run), 2,
                     "labs.width", "16 -> 32")
        folder = self.model("other")
        config = json.loads((folder / "config.json").read_text())
        config["rope_theta"] = 5000.0
        (folder / "config.json").write_text(json.dumps(config))
        self.refused(self.train("--encoders.steps", "1", "--fusion.steps", "1", "--text.model", folder, run=run), 2,
                     "weights")

    def test_data_of_another_run(self):
        run = self.path / "fed"
        self.assertEqual(self.train("--encoders.steps", "1", "--fusion.steps", "1", run=run).code, 0)
        packed = self.path / "otherwise"
        self.assertEqual(medfuse("pack", "--config", self.config, "--input", self.tables, "--output", packed,
                                 "--labs.count", "10").code, 0)
        self.refused(medfuse("evaluate", "--run", run, "--data", packed, ranks=2), 3, "lab columns", "--like")

    def test_commands_on_no_run(self):
        nothing = self.path / "no-run"
        self.refused(medfuse("evaluate", "--run", nothing, ranks=2), 3, "no-run")
        self.refused(medfuse("predict", "--run", nothing, "--data", self.packed, "--output", "x.csv"), 3, "no-run")
        self.refused(medfuse("checkpoint", "list", "--run", nothing), 3, "no-run")

    def test_impute(self):
        table = self.path / "t.csv"
        for text, words in [("a,b\n1,2\n3\n", ("row",)), ("a,b\n1,x\n3,4\n", ("b",)), ("a,b\n", ()), ("a,a\n1,2\n", ("a",))]:
            table.write_text(text)
            self.refused(medfuse("impute", "--input", table, "--output", self.path / "o.csv"), 3, "t.csv", *words)
            self.assertFalse((self.path / "o.csv").exists())
        table.write_text("a,b\n1,2\n3,\n")
        self.refused(medfuse("impute", "--input", table, "--output", table), 2, "t.csv", "itself")
        self.assertEqual(table.read_text(), "a,b\n1,2\n3,\n")
        self.refused(medfuse("impute", "--input", table, "--output", self.path / "o.csv", "--mask_ratio", 0), 2,
                     "--mask_ratio")

    def test_a_path_that_the_system_refuses(self):
        # Root may read everything, but nobody has names as long as this.
        self.refused(medfuse("predict", "--run", "n" * 300, "--data", self.packed, "--output", "x.csv"), 3, "n" * 300)
        self.refused(medfuse("tokenize", "--tokenizer", "n" * 300), 3, "n" * 300)

    def test_tables_that_are_not_tables(self):
        tables = self.path / "semicolons"
        shutil.copytree(self.tables, tables)
        path = tables / "ADMISSIONS.csv"
        path.write_text(path.read_text().replace(",", ";"))
        self.refused(self.pack(tables=tables), 3, "ADMISSIONS.csv", "separated by commas")
        self.refused(self.pack("--diseases", tables / "LABEVENTS.csv"), 3, "LABEVENTS.csv", "disease", "name it so")

    def test_marks_and_values_in_a_configuration(self):
        marked = self.path / "marked.cfg"
        marked.write_bytes(b"\xef\xbb\xbf" + self.config.read_bytes())
        packed = self.path / "marked-packed"
        self.assertEqual(medfuse("pack", "--config", marked, "--input", self.tables, "--output", packed).code, 0)
        self.refused(self.train("--text.lora_alpha", "1e300"), 2, "text.lora_alpha")


if __name__ == "__main__":
    unittest.main()
