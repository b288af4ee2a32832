"""Exports of a run are loaded by transformers and peft, and give the embeddings that medfuse gives."""
import json
import os
import pathlib
import shutil
import stat
import subprocess
import tempfile
import unittest

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRANSFORMERS_VERBOSITY"] = "error"

import h5py
import torch
from peft import AutoPeftModelForCausalLM, PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

from medfuse_cli import ENVIRONMENT, PROGRAM, WEIGHTS, medfuse, small_tables, write_config

LINES = ["chest pain", "Shortness of breath for three days, no fever.", "metoprolol 25 mg, aspirin; hx of COPD", "x"]
TOLERANCE = 2e-5  # all compute in float32 and were up to 4e-6 apart


def small_base(folder, dtype=torch.float32, tied=False):
    """A Llama model of three small blocks with random weights, for the real tokenizer; its output head is its own, or
    its embedding."""
    torch.manual_seed(3)
    config = LlamaConfig(vocab_size=49152, hidden_size=64, intermediate_size=96, num_hidden_layers=3,
                         num_attention_heads=4, num_key_value_heads=2, tie_word_embeddings=tied, initializer_range=0.1,
                         bos_token_id=1, eos_token_id=2, dtype="float32")
    LlamaForCausalLM(config).to(dtype).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(WEIGHTS / name, folder)
    return folder


def distance(a, b):
    return float((torch.as_tensor(a) - torch.as_tensor(b)).abs().max())


class Export(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        torch.set_num_threads(2)
        cls.folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.folder.cleanup)
        cls.path = pathlib.Path(cls.folder.name)
        cls.base = small_base(cls.path / "base")
        cls.config = write_config(cls.path / "small.cfg", **{"text.model": cls.base, "text.layers": 0,
                                                             "learning_rate": 0.02, "text.lora_dropout": 0.1})
        cls.packed = cls.path / "packed"
        result = medfuse("pack", "--config", cls.config, "--input", small_tables(cls.path / "tables", 30), "--output",
                         cls.packed)
        assert result.code == 0, result.err
        # Everything adapted, by one rank; the last of two blocks and three of its projections, by two ranks that share the
        # encoder, so that the checkpoint holds its adapters in parts.
        cls.whole, cls.cut = cls.path / "whole", cls.path / "cut"
        cls.train(cls.whole, ranks=1)
        cls.train(cls.cut, "--text.layers", "2", "--text.lora_layers", "last:1", "--text.lora_targets",
                  "q_proj,v_proj,down_proj", "--parallel.tensor", "2", ranks=2)
        cls.lines = cls.path / "lines.txt"
        cls.lines.write_text("\n".join(LINES) + "\n")
        cls.tokenizer = AutoTokenizer.from_pretrained(cls.base)

    @classmethod
    def train(cls, run, *more, ranks):
        result = medfuse("train", "--config", cls.config, "--data.path", cls.packed, "--run", run, *more, ranks=ranks)
        assert result.code == 0, result.err

    def export(self, run, name, *more, ranks=0):
        output = self.path / name
        result = medfuse("export", "--run", run, "--output", output, *more, ranks=ranks)
        self.assertEqual(result.code, 0, result.err)
        self.assertIn(str(output), result.out)
        self.assertEqual(result.out.count("written to"), 1)
        return output

    @classmethod
    def states(cls, model, line, tokenizer=None):
        """All hidden states of one line, each [tokens, width]; the last is behind the final norm."""
        with torch.no_grad():
            tokens = (tokenizer or cls.tokenizer)(line, return_tensors="pt").input_ids
            return [h[0] for h in model.eval()(input_ids=tokens, output_hidden_states=True).hidden_states]

    @classmethod
    def last_states(cls, model, tokenizer=None):
        return torch.stack([cls.states(model, line, tokenizer)[-1][-1] for line in LINES])

    def embeddings(self, run):
        output = self.path / f"{run.name}.h5"
        if not output.exists():
            result = medfuse("embed", "--run", run, "--input", self.lines, "--output", output)
            self.assertEqual(result.code, 0, result.err)
        with h5py.File(output) as file:
            return torch.tensor(file["embedding"][...])

    def check_both_kinds(self, run, blocks, base=None):
        """Merged, adapter on the base and medfuse agree; training has moved the embeddings far beyond the tolerance."""
        base_folder = base or self.base
        expected = self.embeddings(run)
        folder = self.export(run, run.name + "-merged", "--dtype", "f32")
        merged, loading = AutoModel.from_pretrained(folder, output_loading_info=True)
        self.assertEqual(set(loading["missing_keys"]), set())
        tokenizer = AutoTokenizer.from_pretrained(folder)
        self.assertLess(distance(self.last_states(merged, tokenizer), expected), TOLERANCE)
        untrained = AutoModel.from_pretrained(base_folder, num_hidden_layers=blocks, dtype=torch.float32)
        untrained = self.last_states(untrained)
        self.assertGreater(distance(untrained, expected), 100 * TOLERANCE)

        adapter = self.export(run, run.name + "-adapter", "--kind", "adapter")
        model = AutoModelForCausalLM.from_pretrained(base_folder, num_hidden_layers=blocks, dtype=torch.float32)
        tied = model.config.tie_word_embeddings
        adapted = PeftModel.from_pretrained(model, adapter)
        for line in LINES:
            for mine, theirs in zip(self.states(merged, line), self.states(adapted, line), strict=True):
                # Between blocks states grow; behind the last norm they are about 1.
                self.assertLess(distance(mine, theirs) / max(1, float(theirs.abs().max())), TOLERANCE)
        self.assertLess(distance(self.last_states(adapted), expected), TOLERANCE)
        # No adapter stayed at its first values because its name was not found.
        held = {name for name, value in adapted.named_parameters() if "lora_B" in name and value.abs().max() > 0}
        stored = {name for name in load_file(adapter / "adapter_model.safetensors") if "lora_B" in name}
        self.assertEqual({name.replace(".default", "") for name in held}, stored)

        ours = load_file(folder / "model.safetensors")
        theirs = adapted.merge_and_unload().state_dict()
        if tied:
            del theirs["lm_head.weight"]
        self.assertEqual(ours.keys(), theirs.keys())
        for name, value in ours.items():
            self.assertLess(distance(value, theirs[name]), 1e-5, name)
        return folder, adapter

    def test_run_of_one_rank(self):
        folder, adapter = self.check_both_kinds(self.whole, 3)
        config = json.loads((adapter / "adapter_config.json").read_text())
        self.assertIsNone(config["layers_to_transform"])
        self.assertEqual(config["base_model_name_or_path"], str(self.base))
        self.assertEqual((config["r"], config["lora_alpha"], config["lora_dropout"]), (4, 32, 0.1))
        # The whole language model too: its head is the base's.
        model, loading = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
        self.assertEqual(set(loading["missing_keys"]) | set(loading["unexpected_keys"]), set())
        self.assertTrue(torch.equal(model.lm_head.weight, load_file(self.base / "model.safetensors")["lm_head.weight"]))
        # The class that finds the base by itself.
        found = AutoPeftModelForCausalLM.from_pretrained(adapter)
        self.assertLess(distance(self.last_states(found), self.embeddings(self.whole)), TOLERANCE)

    def test_run_of_two_ranks_on_some_blocks(self):
        folder, adapter = self.check_both_kinds(self.cut, 2)
        self.assertEqual(json.loads((folder / "config.json").read_text())["num_hidden_layers"], 2)
        self.assertFalse([name for name in load_file(folder / "model.safetensors") if "layers.2." in name])
        config = json.loads((adapter / "adapter_config.json").read_text())
        self.assertEqual(config["layers_to_transform"], [1])
        self.assertEqual(sorted(config["target_modules"]), ["down_proj", "q_proj", "v_proj"])
        self.assertIn("num_hidden_layers=2", (adapter / "README.md").read_text())

    def test_run_of_four_ranks_that_share_all_there_is_to_share(self):
        """Tensor groups of two that share tokens too, and weights and adapters in shares over both groups; the base is
        one whose weights are bfloat16 and whose head is its embedding."""
        base = small_base(self.path / "tied", torch.bfloat16, tied=True)
        run = self.path / "shared"
        self.train(run, "--text.model", base, "--parallel.tensor", 2, "--parallel.sequence", "true", "--parallel.zero",
                   3, ranks=4)
        folder, _ = self.check_both_kinds(run, 3, base)
        model, loading = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
        self.assertEqual(set(loading["missing_keys"]) | set(loading["unexpected_keys"]), set())
        self.assertIs(model.lm_head.weight, model.model.embed_tokens.weight)
        # Without --dtype it is the base's, to which the merged weights are rounded once.
        exact = load_file(folder / "model.safetensors")
        rounded = load_file(self.export(run, "shared-rounded") / "model.safetensors")
        self.assertEqual(rounded.keys(), exact.keys())
        for name, value in rounded.items():
            self.assertTrue(torch.equal(value, exact[name].to(torch.bfloat16)), name)

    def test_run_of_a_split_encoder_stage(self):
        run = self.path / "split"
        self.train(run, "--parallel.layout", "split", "--parallel.lab_ranks", 1, ranks=2)
        self.check_both_kinds(run, 3)

    def test_run_in_the_middle(self):
        run = self.path / "begun"
        stopped = medfuse("train", "--config", self.config, "--data.path", self.packed, "--run", run, "--stop.after",
                          "0.001")
        self.assertEqual(stopped.code, 85, stopped.err)
        where = "stage encoders, step 1 of all stages"
        for kind in ("merged", "adapter"):
            output = self.path / f"begun-{kind}"
            result = medfuse("export", "--run", run, "--output", output, "--kind", kind)
            self.assertEqual(result.code, 0, result.err)
            self.assertEqual(result.errors, [f"medfuse: warning: {run}: training has not finished ({where})"])
            self.assertIn(where, (output / "README.md").read_text())
        self.assertNotIn("of all stages", (self.export(self.whole, "ended") / "README.md").read_text())

    def test_adapter_on_a_bare_encoder(self):
        for run, blocks in ((self.whole, 3), (self.cut, 2)):
            adapter = self.export(run, run.name + "-for-bare", "--kind", "adapter")
            model = AutoModel.from_pretrained(self.base, num_hidden_layers=blocks)
            model.load_adapter(str(adapter))
            self.assertLess(distance(self.last_states(model), self.embeddings(run)), TOLERANCE)

    def test_any_number_of_ranks_writes_the_same(self):
        alone, several = self.export(self.cut, "alone"), self.export(self.cut, "several", ranks=2)
        names = sorted(path.name for path in alone.iterdir())
        self.assertEqual(names, sorted(path.name for path in several.iterdir()))
        self.assertIn("tokenizer.json", names)
        self.assertIn("generation_config.json", names)
        for name in names:
            self.assertEqual((alone / name).read_bytes(), (several / name).read_bytes(), name)
            self.assertEqual(stat.S_IMODE((alone / name).stat().st_mode) & 0o077, 0, name)
        card = (alone / "README.md").read_text()
        for word in (str(self.base), "cut, step 8", "medfuse predict"):
            self.assertIn(word, card)

    def test_types(self):
        exact = load_file(self.export(self.whole, "exact") / "model.safetensors")
        for word, dtype in (("bf16", torch.bfloat16), ("f16", torch.float16), ("f32", torch.float32)):
            folder = self.export(self.whole, word, "--dtype", word)
            for name, value in load_file(folder / "model.safetensors").items():
                self.assertTrue(torch.equal(value, exact[name].to(dtype)), name)
            self.assertEqual(AutoModel.from_pretrained(folder, dtype="auto").dtype, dtype)
            adapter = load_file(self.export(self.whole, word + "-adapter", "--kind", "adapter", "--dtype", word) /
                                "adapter_model.safetensors")
            self.assertEqual({value.dtype for value in adapter.values()}, {dtype})

    def test_several_files(self):
        folder = self.export(self.whole, "sharded", "--shard_mib", "1")
        index = json.loads((folder / "model.safetensors.index.json").read_text())
        files = sorted(path.name for path in folder.glob("*.safetensors"))
        self.assertGreater(len(files), 2)
        self.assertEqual(files, sorted(set(index["weight_map"].values())))
        self.assertEqual(index["metadata"]["total_size"],
                         sum(value.nbytes for name in files for value in load_file(folder / name).values()))
        loaded = self.last_states(AutoModel.from_pretrained(folder))
        self.assertLess(distance(loaded, self.embeddings(self.whole)), TOLERANCE)

    def test_tokenizer_gives_the_ids_of_medfuse(self):
        folder = self.export(self.whole, "ids")
        result = medfuse("tokenize", "--tokenizer", folder, stdin=self.lines.read_bytes())
        self.assertEqual(result.code, 0, result.err)
        ids = [[int(word) for word in line.split()] for line in result.out.splitlines()]
        self.assertEqual(ids, [AutoTokenizer.from_pretrained(folder)(line).input_ids for line in LINES])

    def refused(self, result, code, *words):
        self.assertEqual(result.code, code, result.err)
        self.assertEqual(len(result.errors), 1, result.err)
        for word in words:
            self.assertIn(word, result.errors[0])
        self.assertFalse((self.path / "never").exists())
        self.assertFalse((self.path / "never.partial").exists())

    def test_bad_input(self):
        never = self.path / "never"

        def try_export(*more, run=self.whole, output=never, ranks=0):
            return medfuse("export", "--run", run, "--output", output, *more, ranks=ranks)

        self.refused(medfuse("export", "--run", self.whole), 2, "--output")
        self.refused(medfuse("export", "--output", never), 2, "--run")
        self.refused(try_export("--kind", "gguf"), 2, "--kind", "adapter")
        self.refused(try_export("--dtype", "int8", ranks=2), 2, "--dtype", "bf16")
        self.refused(try_export("--shard_mib", "0"), 2, "--shard_mib")
        self.refused(try_export(run=self.path / "no-run"), 3, "no-run")
        self.refused(try_export(output=self.path / "no" / "never"), 3, "never", "make it first")
        (self.path / "taken").mkdir()
        self.refused(try_export(output=self.path / "taken", ranks=2), 3, "taken", "new folder")

        started = self.path / "started"
        shutil.copytree(self.whole, started)
        shutil.rmtree(started / "checkpoints")
        self.refused(try_export(run=started), 3, "holds no checkpoint")

        other = self.path / "other"
        shutil.copytree(self.base, other)
        weights = {name: value + 0.01 for name, value in load_file(other / "model.safetensors").items()}
        save_file(weights, other / "model.safetensors", {"format": "pt"})
        self.refused(try_export("--text.model", other, ranks=2), 3, "other", "--text.model")

    def test_base_that_has_moved(self):
        moved = self.path / "moved"
        run = self.path / "moved-run"
        shutil.copytree(self.whole, run)
        config = run / "config.cfg"
        config.write_text(config.read_text().replace(str(self.base), str(self.path / "gone")))
        result = medfuse("export", "--run", run, "--output", self.path / "never")
        self.refused(result, 3, "gone", "--text.model")
        shutil.copytree(self.base, moved)
        folder = self.export(run, "from-moved", "--kind", "adapter", "--text.model", moved)
        config = json.loads((folder / "adapter_config.json").read_text())
        self.assertEqual(config["base_model_name_or_path"], str(moved))

    def test_run_without_adapters(self):
        run = self.path / "frozen"
        self.train(run, "--text.lora_rank", "0", ranks=1)
        result = medfuse("export", "--run", run, "--output", self.path / "never", "--kind", "adapter")
        self.refused(result, 2, "lora_rank")
        merged = load_file(self.export(run, "frozen-merged") / "model.safetensors")
        base = load_file(self.base / "model.safetensors")
        self.assertEqual(merged.keys(), base.keys())
        self.assertTrue(all(torch.equal(merged[name], base[name]) for name in base))

    def test_full_disk_leaves_nothing(self):
        """No file may grow beyond 4 MiB, as if the disk ended there."""
        never = self.path / "never"
        command = f"trap '' XFSZ; ulimit -f 4096; exec {PROGRAM} export --run {self.whole} --output {never}"
        done = subprocess.run(["bash", "-c", command], env=ENVIRONMENT, capture_output=True, timeout=300)
        self.assertEqual(done.returncode, 3, done.stderr)
        lines = [line for line in done.stderr.decode().splitlines() if line.startswith("medfuse")]
        self.assertEqual(len(lines), 1, lines)
        self.assertIn("model.safetensors", lines[0])
        self.assertFalse([path for path in self.path.iterdir() if path.name.startswith("never")])


if __name__ == "__main__":
    unittest.main()
