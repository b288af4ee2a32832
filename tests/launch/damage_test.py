"""Runs that are damaged behind the program's back: a file that is gone, cut or changed in some byte, an edited manifest or
configuration, an emptied folder, what a crash left. `checkpoint verify` names the file; whatever loads takes an older
checkpoint and says so, or ends with one line; training goes on to the very weights of a run to which nothing happened.
MEDFUSE_EVERY_FAULT=1: many more places."""
import os
import re
import shutil
import unittest

import h5py

from medfuse_cli import WEIGHTS, may_mount, medfuse
from training_run import RunCase, cut_back, metrics

EVERY = "MEDFUSE_EVERY_FAULT" in os.environ
RANKS = 2
STEPS = 6                # of each stage
SAVED = (3, 6, 9, 12)
NEWEST, OLDER = 12, 9
# Of the words behind it the first is a folder that rank 1 finds in the place of the second; then comes what is started.
OTHERS_ON_RANK_1 = """test $OMPI_COMM_WORLD_RANK = 1 || { shift; exec "$@"; }
exec unshare -m sh -c 'mount --bind "$0" "$1" && shift && exec "$@"' "$0" "$@"
"""


def flip(path, at):
    with open(path, "r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 0x10]))


def places(path):
    """Where to change a byte: the first, the last, and evenly in between."""
    size, parts = path.stat().st_size, 30 if EVERY else 3
    return [i * (size - 1) // parts for i in range(parts + 1)]


def tensor_byte(path, of_optimizer=False):
    """In the middle of the largest tensor of the model, or of its optimiser, in a file of shards."""
    found = []
    with h5py.File(path) as file:
        def visit(name, item):
            if isinstance(item, h5py.Dataset) and name.startswith("optimizer.") == of_optimizer:
                found.append((item.nbytes, item.id.get_offset()))
        file.visititems(visit)
    size, offset = max(found)
    return offset + size // 2


class Damage(RunCase):
    settings = {"encoders.steps": STEPS, "fusion.steps": STEPS, "checkpoint.every": 3, "checkpoint.keep": 10}

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.whole = cls.undisturbed("whole", ranks=RANKS)

    @classmethod
    def train(cls, run, *more):
        return medfuse(*cls.training(run, *more), ranks=RANKS, timeout=60)

    def copy(self, name, step=NEWEST):
        cut_back(self.whole, self.path / name, step)
        return self.path / name

    @staticmethod
    def checkpoint(run, step):
        return run / "checkpoints" / f"step-{step:09d}"

    def packed_anew(self, name):
        """Other data of the same shape: without the last results."""
        tables, packed = self.path / f"{name}-tables", self.path / f"{name}-packed"
        shutil.copytree(self.path / "tables", tables)
        labs = tables / "LABEVENTS.csv"
        labs.write_text("".join(labs.read_text().splitlines(keepends=True)[:-20]))
        done = medfuse("pack", "--config", self.config, "--input", tables, "--output", packed)
        self.assertEqual(done.code, 0, done.err)
        return packed

    def predict(self, run, name, *more):
        """What is predicted, or nothing, and the result of the command."""
        output = self.path / f"{name}.csv"
        done = medfuse("predict", "--run", run, "--data", self.packed, "--output", output, *more, timeout=60)
        self.assertEqual(done.code == 0, output.exists(), done.err)
        return output.read_text() if output.exists() else None, done

    def ends_as_if_nothing_had_been(self, run, done):
        self.assertEqual(done.code, 0, done.err)
        self.assert_same_run(run, self.whole)
        self.assertEqual([path.name for path in sorted((run / "checkpoints").iterdir())],
                         [f"step-{step:09d}" for step in SAVED])

    def test_training_goes_on_from_the_newest_sound_one(self):
        run = self.copy("passed-over")
        folder = run / "checkpoints"
        for step in SAVED:
            self.assertEqual(len(list(self.checkpoint(run, step).glob("rank-*.h5"))), RANKS)
        (self.checkpoint(run, 12) / "rank-00001.h5").unlink()
        tensors = self.checkpoint(run, 9) / "rank-00000.h5"
        flip(tensors, tensor_byte(tensors))
        manifest = self.checkpoint(run, 6) / "manifest.json"
        edited = re.sub(r'"step": ?6,', '"step":7,', manifest.read_text(), count=1)
        self.assertNotEqual(edited, manifest.read_text())
        manifest.write_text(edited)
        part = self.checkpoint(run, 3) / "rank-00001.h5"
        os.truncate(part, part.stat().st_size - 1)
        # What crashes left: an emptied folder, one without a manifest, a hidden one half written.
        self.checkpoint(run, 15).mkdir()
        self.checkpoint(run, 18).mkdir()
        (self.checkpoint(run, 18) / "rank-00000.h5").write_bytes(tensors.read_bytes()[:5000])
        (folder / ".step-000000021.partial").mkdir()
        (folder / ".step-000000021.partial" / "rank-00000.h5").write_bytes(b"half")

        before = metrics(run)
        self.assert_one_line(self.train(run), folder, "none of its 6 checkpoints is sound")
        self.assertEqual(metrics(run), before, "the record of what was trained is gone")
        self.assert_one_line(medfuse("checkpoint", "list", "--run", run), "5 of 6 checkpoints are damaged")
        self.assert_one_line(medfuse("checkpoint", "verify", "--run", run), "6 of 6 checkpoints are damaged")
        shutil.rmtree(self.checkpoint(run, 3))
        shutil.copytree(self.checkpoint(self.whole, 3), self.checkpoint(run, 3))
        done = self.train(run)
        warnings = [line for line in done.err.splitlines() if line.startswith("warning: ")]
        self.assertEqual(len(warnings), 5, done.err)
        for line, what in zip(warnings, ["step-000000018/manifest.json: No such file",
                                         "step-000000015/manifest.json: No such file",
                                         "step-000000012/rank-00001.h5: No such file",
                                         "step-000000009/rank-00000.h5: its content was changed or damaged (tensor ",
                                         "step-000000006/manifest.json: was changed or damaged"]):
            self.assertIn(what, line)
            self.assertIn("delete", line)
        self.assertIn("continuing behind step 3", done.err)
        self.ends_as_if_nothing_had_been(run, done)

    def test_a_byte_changed_in_each_file(self):
        run = self.copy("flipped")
        files = sorted(self.checkpoint(run, NEWEST).iterdir())
        self.assertEqual([path.name for path in files], ["manifest.json", "rank-00000.h5", "rank-00001.h5"])
        for path in files:
            for at in places(path):
                flip(path, at)
                with self.subTest(file=path.name, byte=at):
                    verified = medfuse("checkpoint", "verify", "--run", run, "--step", NEWEST)
                    self.assert_one_line(verified, "1 of 1 checkpoints are damaged")
                    named = re.findall(r"DAMAGED: (\S+?): ", verified.out)
                    self.assertEqual(named, [str(path)], verified.out)
                flip(path, at)
        self.assertEqual(medfuse("checkpoint", "verify", "--run", run).code, 0)

    def test_what_reads_a_damaged_one_takes_an_older_one_or_refuses(self):
        run = self.copy("read")
        good = {step: self.predict(run, f"good-{step}", "--checkpoint", step)[0] for step in (OLDER, NEWEST)}
        self.assertNotEqual(good[OLDER], good[NEWEST])
        folder = self.checkpoint(run, NEWEST)
        for name in ["manifest.json", "rank-00000.h5", "rank-00001.h5"]:
            path = folder / name
            if name == "manifest.json":
                chosen = places(path) if EVERY else [path.stat().st_size // 2]
            else:
                chosen = [tensor_byte(path), *(places(path) if EVERY else [])]
            for at in chosen:
                flip(path, at)
                with self.subTest(file=name, byte=at):
                    text, done = self.predict(run, f"{name}-{at}")
                    self.assertEqual(done.code, 0, done.err)
                    if f"medfuse: warning: {path}: " in done.err:
                        self.assertEqual(text, good[OLDER], "neither the one nor the other")
                    else:  # a byte that says nothing about what is read, such as HDF5's own
                        self.assertNotIn("warning", done.err)
                        self.assertEqual(text, good[NEWEST], "a wrong load that nobody notices")
                        self.assertNotEqual(at, chosen[0])
                flip(path, at)
        # Where there is no other, or this very one is asked for.
        path = folder / "rank-00001.h5"
        os.truncate(path, path.stat().st_size // 2)
        text, done = self.predict(run, "asked-for", "--checkpoint", NEWEST)
        self.assert_one_line(done, f"checkpoint {NEWEST} is not sound")
        self.assertIsNone(text)
        for step in SAVED[:-1]:
            shutil.rmtree(self.checkpoint(run, step))
        text, done = self.predict(run, "alone")
        self.assert_one_line(done, "none of its 1 checkpoints is sound")
        self.assertIn(f"warning: {path}: ", done.err)
        self.assert_one_line(medfuse("evaluate", "--run", run), "none of its 1 checkpoints is sound")
        self.assertFalse((run / "evaluation.json").exists())
        self.assert_one_line(self.train(run), "none of its 1 checkpoints is sound")

    def test_the_best_one(self):
        """Kept besides the newest, and never replaced by another where it is asked for."""
        run = self.undisturbed("scored", "--validate.every", "1", "--checkpoint.keep", "1", ranks=RANKS)
        scores = {line["step"] + STEPS: line["validation_auroc"] for line in metrics(run)
                  if line["stage"] == "fusion" and line["step"] in (3, 6)}
        best = max(scores, key=scores.get)
        kept = [int(path.name.removeprefix("step-")) for path in sorted((run / "checkpoints").iterdir())]
        self.assertEqual(kept, sorted({best, NEWEST}))
        text = self.predict(run, "best", "--checkpoint", "best")[0]
        self.assertEqual(text, self.predict(run, "best-step", "--checkpoint", best)[0])
        tensors = self.checkpoint(run, best) / "rank-00000.h5"
        flip(tensors, tensor_byte(tensors))
        text, done = self.predict(run, "best-damaged", "--checkpoint", "best")
        self.assert_one_line(done, "checkpoint best is not sound")
        self.assertIsNone(text)
        self.assert_one_line(self.predict(self.copy("unscored"), "unscored", "--checkpoint", "best")[1], "checkpoint")

    def test_a_changed_configuration_is_no_other_model(self):
        """Of settings that leave every shape as it is: the tensors alone do not show it."""
        run = self.copy("edited")
        config = run / "config.cfg"
        text = config.read_text()
        for key, edited in [("lora_alpha", re.sub(r"(?m)^lora_alpha = .*$", "lora_alpha = 3", text)),
                            ("precision", re.sub(r"(?m)^precision = .*$", "precision = f64", text))]:
            self.assertNotEqual(edited, text)
            config.write_text(edited)
            predicted, done = self.predict(run, f"edited-{key}")
            self.assert_one_line(done, config, key)
            self.assertIsNone(predicted)
            self.assert_one_line(medfuse("export", "--run", run, "--output", self.path / "exported"), config, key)
            self.assert_one_line(self.train(run), run, key, code=2)
        config.write_text(text)
        self.assertIsNotNone(self.predict(run, "as-it-was")[0])

    def test_a_manifest_that_cannot_be_read(self):
        """Such as one on a bad sector: here what the system will not read."""
        run = self.copy("unreadable")
        manifest = self.checkpoint(run, NEWEST) / "manifest.json"
        manifest.unlink()
        manifest.symlink_to("/proc/self/mem")
        text, done = self.predict(run, "unreadable")
        self.assertIn(f"warning: {manifest}: read error: Input/output error", done.err)
        self.assertEqual(text, self.predict(run, "unreadable-older", "--checkpoint", OLDER)[0])
        self.assert_one_line(medfuse("checkpoint", "verify", "--run", run), "1 of 4 checkpoints are damaged")
        done = self.train(run)
        self.assertIn(f"continuing behind step {OLDER}", done.err)
        self.ends_as_if_nothing_had_been(run, done)

    def test_a_part_that_one_rank_alone_reads(self):
        """Of the optimiser's state, which ranks share: the other one must not wait for it."""
        more, whole = ["--parallel.zero", "1"], self.undisturbed("shared-whole", "--parallel.zero", "1", ranks=RANKS)
        run = self.path / "shared"
        cut_back(whole, run, NEWEST)
        shutil.rmtree(self.checkpoint(run, NEWEST))
        part = self.checkpoint(run, OLDER) / "rank-00001.h5"
        flip(part, tensor_byte(part, of_optimizer=True))
        done = self.train(run, *more)
        self.assertEqual(done.code, 0, done.err)
        self.assertRegex(done.err, rf"warning: (rank 1: )?{re.escape(str(part))}: its content was changed or damaged")
        self.assertIn("continuing behind step 6", done.err)
        self.assert_same_run(run, whole)

    def test_checkpoints_of_another_run(self):
        """Same settings, same shapes: what tells them apart is what they were trained on."""
        packed, other = self.packed_anew("other"), self.path / "other"
        on_other = ["train", "--config", self.config, "--data.path", packed, "--run"]
        done = medfuse(*on_other, other, ranks=RANKS)
        self.assertEqual(done.code, 0, done.err)
        run = self.copy("mixed")
        shutil.rmtree(self.checkpoint(run, NEWEST))
        shutil.copytree(self.checkpoint(other, NEWEST), self.checkpoint(run, NEWEST))
        text, done = self.predict(run, "mixed")
        self.assert_one_line(done, self.checkpoint(run, NEWEST), "other packed data")
        self.assertIsNone(text)
        self.assert_one_line(self.train(run), self.checkpoint(run, NEWEST), "other packed data", code=2)
        # A run that has lost its configuration is no new one.
        run = self.copy("lost")
        (run / "config.cfg").unlink()
        for done in (self.train(run), medfuse(*on_other, run, ranks=RANKS)):
            self.assert_one_line(done, run / "config.cfg", "is missing")
        self.assertEqual((run / "data.json").read_bytes(), (self.packed / "index.json").read_bytes())

    @unittest.skipUnless(may_mount(), "this user may not make mount namespaces")
    def test_ranks_with_other_files(self):
        """As on nodes with disks of their own, one of which has an old copy."""
        packed, weights = self.packed_anew("stale"), self.path / "stale-model"
        shutil.copytree(WEIGHTS, weights)
        size = (weights / "model.safetensors").stat().st_size
        flip(weights / "model.safetensors", size // 256 * 100 + 777_777)
        for key, usual, other in (("data.path", self.packed, packed), ("text.model", WEIGHTS, weights)):
            run = self.path / f"stale-{key}"
            done = medfuse(*self.training(run), ranks=2, timeout=60, through=("sh", "-c", OTHERS_ON_RANK_1, other, usual))
            self.assert_one_line(done, key, "rank 1", "to all nodes anew")
            self.assertFalse((run / "config.cfg").exists())

    def test_a_byte_changed_in_the_weights(self):
        """In any place of them, and in what the run knows of them."""
        run, weights = self.copy("weights"), self.path / "model"
        shutil.copytree(WEIGHTS, weights)
        moved = ["--text.model", weights]
        good = self.predict(run, "moved", *moved)[0]
        self.assertIsNotNone(good)
        path = weights / "model.safetensors"
        size = path.stat().st_size
        for at in (size - 1, size // 2, size // 256 * 100 + 777_777):
            flip(path, at)
            text, done = self.predict(run, f"weights-{at}", *moved)
            self.assert_one_line(done, weights, "not the weights")
            self.assertIsNone(text)
            self.assert_one_line(medfuse("export", "--run", run, "--output", self.path / "exported", *moved), weights,
                                 "not the weights")
            self.assert_one_line(self.train(run, *moved), run, "other weights", code=2)
            flip(path, at)
        self.assertEqual(self.predict(run, "moved-again", *moved)[0], good)
        identity = run / "identity.json"
        flip(identity, identity.stat().st_size // 2)
        for refused in (self.predict(run, "identity")[1], self.train(run)):
            self.assert_one_line(refused, identity, "was changed or damaged")

    def test_a_changed_digit_in_what_is_known_of_the_data(self):
        """Of a lab's scaling: samples packed or predicted with it would be others."""
        run = self.copy("described")
        path = run / "data.json"
        good = path.read_text()
        edited = re.sub(r'("high": )(\d)', lambda found: found[1] + str((int(found[2]) + 1) % 10), good, count=1)
        self.assertNotEqual(edited, good)
        path.write_text(edited)
        like = ["pack", "--like", run, "--input", self.path / "tables", "--output", self.path / "like"]
        text, done = self.predict(run, "described")
        self.assertIsNone(text)
        for refused in (done, medfuse(*like), self.train(run)):
            self.assert_one_line(refused, path, "was changed or damaged", "copy that again")
        self.assertFalse((self.path / "like").exists())
        shutil.copyfile(self.packed / "index.json", path)  # as it says
        self.assertEqual(path.read_text(), good)
        self.assertIsNotNone(self.predict(run, "described-again")[0])
        self.assertEqual(medfuse(*like).code, 0)

    def test_damaged_metrics(self):
        run = self.copy("metrics", 9)
        path = run / "metrics.jsonl"
        whole = path.read_bytes()
        path.unlink()
        path.mkdir()
        self.assert_one_line(self.train(run), path, "is a folder")
        path.rmdir()
        lines = whole.splitlines(keepends=True)
        lines[1] = os.urandom(300).replace(b"\n", b"") + b"\n"
        path.write_bytes(b"".join(lines) + b'{"stage": "fus')
        done = self.train(run)
        self.assertEqual(done.code, 0, done.err)
        self.assertRegex(done.err, rf"warning: {re.escape(str(path))}: 1 line [^\n]*left out")
        steps = [(line["stage"], line["step"], line["loss"]) for line in metrics(run)]
        expected = [(line["stage"], line["step"], line["loss"]) for line in metrics(self.whole)]
        self.assertEqual(steps, expected[:1] + expected[2:])
        path.write_bytes((self.whole / "metrics.jsonl").read_bytes())
        self.ends_as_if_nothing_had_been(run, done)


if __name__ == "__main__":
    unittest.main()
