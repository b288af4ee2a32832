"""Command line and configuration: help, errors that name file and key, values with '#' and blanks."""
import pathlib
import tempfile
import unittest

from medfuse_cli import medfuse

SHAPE = "configs/shapes/llama-3-8b"  # a config.json, which is read before the data are

COMMANDS = ["pack", "train", "evaluate", "predict", "impute", "tokenize", "embed", "checkpoint", "export", "plan", "info"]

# Starts what is behind it, a little later on rank 0, or elsewhere than on rank 0 with one word more.
LATE = ("sh", "-c", "test $OMPI_COMM_WORLD_RANK != 0 || sleep 1; exec \"$@\"", "sh")
ONE_WORD_MORE = ("sh", "-c", "test $OMPI_COMM_WORLD_RANK = 0 || set -- \"$@\" --lora_rnak; exec \"$@\"", "sh")


class Options(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.path = pathlib.Path(self.folder.name)

    def config(self, text):
        path = self.path / "c.cfg"
        path.write_text(text)
        return path

    def test_help(self):
        overview = medfuse("--help")
        self.assertEqual(overview.code, 0)
        for command in COMMANDS:
            self.assertIn(command, overview.out)
            result = medfuse(command, "--help")
            self.assertEqual(result.code, 0, command)
            self.assertIn(f"medfuse {command}", result.out)
        self.assertIn("--text.lora_rank", medfuse("train", "--help").out)
        self.assertEqual(medfuse("help", "train").out, medfuse("train", "--help").out)
        self.assertRegex(medfuse("--version").out, r"^medfuse \d+\.\d+\.\d+\n$")
        self.assertIn("--text.sections", medfuse("pack", "--help").out)

    def test_help_is_printed_once_under_mpirun(self):
        self.assertEqual(medfuse("train", "--help", ranks=3).out.count("usage:"), 1)

    def test_no_and_unknown_command(self):
        self.check_usage(medfuse(), "a command is missing")
        self.check_usage(medfuse("trian"), "trian")

    def test_a_mistake_is_told_though_the_rank_that_tells_it_comes_late(self):
        self.check_usage(medfuse("train", "--batch", "many", ranks=3, through=LATE), "batch")
        self.check_usage(medfuse("trian", ranks=3, through=LATE), "trian")
        self.check_usage(medfuse(ranks=3, through=LATE), "a command is missing")

    def test_a_mistake_of_one_node_alone_is_told(self):
        self.check_usage(medfuse("train", "--run", self.path / "r", ranks=3, through=ONE_WORD_MORE), "lora_rnak")

    def check_usage(self, result, *words):
        self.assertEqual(result.code, 2, result.err)
        self.assertEqual(len(result.errors), 1, result.err)
        for word in words:
            self.assertIn(word, result.errors[0])

    def test_unknown_key_names_file_line_and_key(self):
        path = self.config("# comment\n[text]\nlora_rnak = 3\n")
        self.check_usage(medfuse("train", "--config", path, "--run", self.path / "r"), "c.cfg:3", "text.lora_rnak")
        self.check_usage(medfuse("train", "--config", path, "--run", self.path / "r", ranks=3), "text.lora_rnak")

    def test_ranks_with_other_settings_are_refused(self):
        run = ("--run", self.path / "r", "--config", self.config("batch = 8\n"))
        for words, difference in [('"$@" --batch=16', "batch = 16, there batch = 8;"),
                                  ('"$1" info', "medfuse info, there medfuse train;")]:
            elsewhere = ("sh", "-c", f"test $OMPI_COMM_WORLD_RANK != 2 || set -- {words}; exec \"$@\"", "sh")
            result = medfuse("train", *run, ranks=3, through=elsewhere)
            self.check_usage(result, "rank 2 on ", "other settings than rank 0", difference)
        self.assertFalse((self.path / "r").exists())

    def test_ill_typed_value(self):
        path = self.config("batch = many\n")
        self.check_usage(medfuse("train", "--config", path, "--run", self.path / "r"), "c.cfg:1", "batch", "whole number")
        self.check_usage(medfuse("train", "--batch", "many", "--run", self.path / "r"), "batch", "whole number")

    def test_key_given_twice(self):
        path = self.config("batch = 3\nbatch = 4\n")
        self.check_usage(medfuse("train", "--config", path, "--run", self.path / "r"), "c.cfg:2", "batch", "twice")

    def test_a_bad_value_in_the_file_is_an_error_even_where_the_command_line_wins(self):
        path = self.config("batch = many\n")
        self.check_usage(medfuse("train", "--config", path, "--batch", "4", "--run", self.path / "r"), "c.cfg:1")

    def test_abbreviations_are_not_guessed(self):
        self.check_usage(medfuse("train", "--bat", "3", "--run", self.path / "r"), "bat")

    def test_a_negative_number_is_no_seed(self):
        self.check_usage(medfuse("train", "--seed", "-1", "--run", self.path / "r"), "seed", "negative")
        self.check_usage(medfuse("train", "--config", self.config("seed = -1\n"), "--run", self.path / "r"), "c.cfg:1")

    def test_empty_value_behind_an_equals_sign(self):
        self.check_usage(medfuse("train", "--data.path", "d", "--text.model", "m", "--stages=", "--run", self.path / "r"),
                         "stages is empty")

    def test_missing_file(self):
        self.check_usage(medfuse("train", "--config", self.path / "none.cfg", "--run", self.path / "r"), "none.cfg")

    def test_value_keeps_number_sign_and_blanks(self):
        path = self.config(f"data.path = /no such/place #1\ntext.model = {SHAPE}\n")
        result = medfuse("train", "--config", path, "--run", self.path / "r")
        self.assertEqual(result.code, 3)
        self.assertIn("/no such/place #1", result.errors[0])

    def test_pack_keys_may_stand_beside_train_keys(self):
        path = self.config(f"data.path = /nowhere\ntext.model = {SHAPE}\n[text]\nsections = chief complaint\n")
        result = medfuse("train", "--config", path, "--run", self.path / "r")
        self.assertEqual(result.code, 3)
        self.assertIn("/nowhere", result.errors[0])

    def test_runs_of_before_there_were_several_limits_are_read(self):
        self.config("data.path = x\ntimeout = 600\n").rename(self.path / "config.cfg")
        result = medfuse("evaluate", "--run", self.path)
        self.assertEqual(result.code, 3)
        self.assertIn("data.json", result.errors[0], "it is the rest of the run that is missing")
        self.check_usage(medfuse("train", "--timeout", 600, "--run", self.path / "r"), "timeout")

    def test_values_out_of_range_of_other_commands(self):
        for command, key, value in [("evaluate", "timeout.step", "inf"), ("predict", "timeout.start", 0), ("embed", "micro_batch", 0),
                                    ("impute", "extra_decimals", 13)]:
            places = {"evaluate": ["--run", "r"], "predict": ["--run", "r", "--data", "d"], "embed": ["--run", "r"],
                      "impute": ["--input", "t.csv"]}[command]
            if command != "evaluate":
                places += ["--output", self.path / "out"]
            self.check_usage(medfuse(command, *places, f"--{key}", value), key)

    def test_values_out_of_range(self):
        for key, value in [("fusion.tokens", 3), ("labs.mask_ratio", 1.5), ("precision", "f8"), ("stages", "fusion,encoders"),
                           ("batch", 0), ("labs.heads", 5), ("encoders.epochs", "nan"),
                           ("labs.encoder_layers", 1000000000), ("text.lora_rank", 1000000), ("timeout.save", 0.5)]:
            result = medfuse("train", "--data.path", "d", "--text.model", "m", f"--{key}", value, "--run", self.path / "r")
            self.check_usage(result, key)

    def test_lab_ranks_that_do_not_fit_are_refused_before_anything_is_read(self):
        def train(ranks, *more):
            return medfuse("train", "--data.path", "/nowhere", "--text.model", SHAPE, "--run", self.path / "r",
                           "--parallel.layout", "split", *more, ranks=ranks)
        for key, value in [("parallel.layout", "both"), ("parallel.lab_ranks", -1), ("encoders.lab_steps", -1)]:
            result = medfuse("train", "--data.path", "/nowhere", "--text.model", "m", "--run", self.path / "r", f"--{key}", value)
            self.check_usage(result, key)
        self.check_usage(train(0), "parallel.layout", "at least 2 ranks")
        self.check_usage(train(2, "--parallel.lab_ranks", 2), "parallel.lab_ranks", "1 to 1")
        self.check_usage(train(4, "--parallel.tensor", 2, "--parallel.lab_ranks", 1), "parallel.lab_ranks",
                         "multiples of 2 from 2 to 2")
        self.assertFalse((self.path / "r").exists())


if __name__ == "__main__":
    unittest.main()
