"""Starts medfuse as a user does and hands back what it printed; small inputs for that."""
import csv
import gzip
import os
import pathlib
import shutil
import subprocess

ROOT = pathlib.Path(os.environ["MEDFUSE_ROOT"])
PROGRAM = os.environ["MEDFUSE"]
WEIGHTS = pathlib.Path(os.environ["MEDFUSE_WEIGHTS"])
SAMPLES = ROOT / "data" / "samples" / "clinosim-mimic3"
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "OMPI_ALLOW_RUN_AS_ROOT": "1",
               "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}


class Result:
    def __init__(self, done):
        self.code = done.returncode
        self.out = done.stdout.decode()
        self.err = done.stderr.decode()

    @property
    def errors(self):
        """Lines of ours on standard error: mpirun adds its own."""
        return [line for line in self.err.splitlines() if line.startswith("medfuse")]


def medfuse(*arguments, ranks=0, stdin=b"", timeout=300, cwd=ROOT, environment=None, through=()):
    """`environment`: variables in addition; `through`: a command that starts what is behind it, on every rank."""
    command = [*through, PROGRAM, *map(str, arguments)]
    if ranks:
        command = ["mpirun", "--oversubscribe", "--bind-to", "none", "-np", str(ranks), *command]
    return Result(subprocess.run(command, env={**ENVIRONMENT, **(environment or {})}, input=stdin, capture_output=True,
                                 timeout=timeout, cwd=cwd))


def may_mount():
    """In a mount namespace, which nobody else sees."""
    return subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode == 0


def small_tables(folder, patients=60):
    """The first patients of the synthetic sample, as plain CSV files."""
    folder.mkdir(parents=True, exist_ok=True)
    kept = {str(10001 + i) for i in range(patients)}
    for name in ["ADMISSIONS", "PATIENTS", "DIAGNOSES_ICD", "LABEVENTS", "NOTEEVENTS"]:
        source = next(SAMPLES.glob(name + ".csv*"))
        opened = gzip.open(source, "rt", newline="") if source.suffix == ".gz" else open(source, newline="")
        with opened as table, open(folder / (name + ".csv"), "w", newline="") as out:
            rows = csv.reader(table)
            writer = csv.writer(out, lineterminator="\n")
            header = next(rows)
            writer.writerow(header)
            subject = header.index("SUBJECT_ID")
            writer.writerows(row for row in rows if row[subject] in kept)
    for source in SAMPLES.glob("D_LABITEMS.csv*"):
        shutil.copy(source, folder)
    return folder


def write_config(path, **changes):
    """A configuration for pack and train that takes seconds: one block of the text encoder."""
    settings = {
        "diseases": SAMPLES / "phenotypes.csv", "batch": 8, "micro_batch": 4, "checkpoint.every": 3,
        "text.model": WEIGHTS, "text.max_tokens": 48, "text.layers": 1, "text.lora_rank": 4, "labs.count": 12,
        "labs.width": 16, "labs.encoder_layers": 1, "labs.decoder_layers": 1, "fusion.width": 16, "fusion.kronecker": 4,
        "encoders.steps": 4, "fusion.steps": 4, **changes}
    path.write_text("".join(f"{key} = {value}\n" for key, value in settings.items()))
    return path
