"""What is trained: the options of medfuse train among words and in its configuration, and whether medfuse takes them."""
import os
import pathlib
import re
import subprocess
import tempfile

from slurm_job import Refusal


def find(words, key):
    """Value of a medfuse option among words, or None."""
    for i, text in enumerate(words):
        if text == f"--{key}":
            return words[i + 1] if i + 1 < len(words) else ""
        if text.startswith(f"--{key}="):
            return text.partition("=")[2]
    return None


def without(words, key):
    """The words that are not this option and its value."""
    kept, skip = [], False
    for text in words:
        if not skip and text != f"--{key}" and not text.startswith(f"--{key}="):
            kept.append(text)
        skip = not skip and text == f"--{key}"
    return kept


def read_config(root, name):
    """Keys and values of a configuration, as medfuse reads it; what it would refuse is left to it to explain."""
    try:
        text = (root / name).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise Refusal(2, f"--config {name}: {error.strerror}; relative paths start in {root}")
    except UnicodeDecodeError:
        raise Refusal(2, f"--config {name}: is no text in UTF-8")
    section, values = "", {}
    for row in (row.strip() for row in text.splitlines()):
        if row.startswith("[") and row.endswith("]"):
            section = row[1:-1].strip() + "."
        elif row[:1] not in ("", "#", ";") and "=" in row:
            key, _, value = row.partition("=")
            values[section + key.strip()] = value.strip()
    return values


def plan(root, o, words):
    """Has `medfuse plan` judge the configuration on this mesh: lines of it that a person wants to see."""
    program = root / o.program
    if not os.access(program, os.X_OK):
        raise Refusal(2, f"{o.program}: no such program: build it (launch/build.sh), or give --program")
    with tempfile.TemporaryDirectory() as folder:
        machine = o.machine or "configs/machines/h100-sxm.cfg"
        if not o.machine and not o.gpus_per_node:
            machine = unlimited_machine(root, pathlib.Path(folder))
        done = subprocess.run([str(program), "plan", "--config", o.config, "--nodes", str(o.nodes), "--gpus-per-node",
                               str(o.tasks_per_node), "--machine", machine, *words],
                              cwd=root, capture_output=True, text=True)
    if done.returncode != 0:
        text = (done.stderr.strip().splitlines() or [f"medfuse plan ended with code {done.returncode}"])[-1]
        raise Refusal(done.returncode if done.returncode in (2, 3) else 2, text)
    shown = r"mesh:|encoder stage:|  needed|  a step" if o.machine or o.gpus_per_node else r"mesh:|encoder stage:"
    return [re.sub(r"  +", "  ", row.strip()) for row in done.stdout.splitlines() if re.match(shown, row)]


def unlimited_machine(root, folder):
    """A CPU machine on which everything fits, for when nothing is known of the nodes' memory."""
    text = (root / "configs/machines/cpu-2core.cfg").read_text()
    text = re.sub(r"(?m)^name = .*", "name = CPU nodes of unknown memory", text)
    path = folder / "unlimited.cfg"
    path.write_text(re.sub(r"(?m)^memory_gib = .*", "memory_gib = 1e9", text))
    return str(path)


def look_for_inputs(root, data, model):
    for key, folder, name in (("data.path", data, "index.json"), ("text.model", model, "config.json")):
        if folder and not (root / folder / name).is_file():
            raise Refusal(3, f"{key} {folder}: {name} is missing; relative paths start in {root}")
