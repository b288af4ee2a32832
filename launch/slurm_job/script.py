"""The text of a Slurm batch script for a training run: directives, environment, settings; slurm/job.sh does the rest."""
import re
import shlex


def directives(o):
    """The #SBATCH lines of the options `o` of launch/submit.py."""
    gpus = f"{o.gpu_type}:{o.gpus_per_node}" if o.gpu_type else str(o.gpus_per_node)
    rows = [
        ("job-name", o.job_name),
        ("partition", o.partition), ("account", o.account), ("qos", o.qos), ("constraint", o.constraint),
        ("nodes", o.nodes), ("ntasks-per-node", o.tasks_per_node), ("cpus-per-task", o.cpus_per_task),
        ("gpus-per-node", gpus if o.gpus_per_node else None), ("mem", o.mem), ("time", o.time),
        ("output", f"{o.run}/slurm-%j.log"), ("open-mode", "append"),
        # B: to the script alone, which passes it on: mpirun's ranks on the first node are no step of the job.
        ("signal", f"B:{o.signal}"),
    ]
    lines = [f"#SBATCH --{name}={value}" for name, value in rows if value not in (None, "")]
    lines.append("#SBATCH --requeue" if o.requeue_limit > 0 else "#SBATCH --no-requeue")
    return lines + [f"#SBATCH {words}" for words in o.sbatch]


def environment(o):
    """What ranks find in their environment."""
    rows = [("OMP_NUM_THREADS", '"${SLURM_CPUS_PER_TASK:-1}"')]
    if o.gpus_per_node:
        rows.append(("NCCL_DEBUG", "WARN"))
    if o.interface:
        # "=" asks NCCL for exactly this interface; without it eth1 would also mean eth10.
        if o.gpus_per_node:
            rows.append(("NCCL_SOCKET_IFNAME", shlex.quote("=" + o.interface)))
        rows += [("OMPI_MCA_btl_tcp_if_include", shlex.quote(o.interface)),
                 ("OMPI_MCA_oob_tcp_if_include", shlex.quote(o.interface))]
    if o.ib_hca:
        rows.append(("NCCL_IB_HCA", shlex.quote(o.ib_hca)))
    rows += [(name, shlex.quote(value)) for name, value in o.env]
    return [f"export {name}={value}" for name, value in rows]


def prologue(o):
    if not o.setup:
        return ["set -euo pipefail"]
    return ["set -eo pipefail", *o.setup,
            "set -u  # only now: scripts behind \"module load\" read variables that are not set"]


def bash_array(words):
    return "(" + " ".join(shlex.quote(word) for word in words) + ")"


def stage_folder(text):
    """A word of the script: a leading variable ($TMPDIR/sub) is expanded where the job runs, anything else is not."""
    variable = re.match(r"\$([A-Za-z_]\w*)", text)
    if not variable:
        return shlex.quote(text)
    rest = text[variable.end():]
    return f'"${{{variable[1]}}}"' + (shlex.quote(rest) if rest else "")


def settings(o, command):
    rows = [("run", shlex.quote(o.run)), ("command", bash_array(command)), ("launcher", o.launcher),
            ("launcher_options", bash_array(o.launcher_option)), ("tasks_per_node", o.tasks_per_node),
            ("stop_signal", o.signal.split("@")[0]), ("requeue_limit", o.requeue_limit),
            ("failure_limit", o.failure_limit), ("data", shlex.quote(o.data) if o.stage else ""),
            ("stage", stage_folder(o.stage) if o.stage else "")]
    return [f"{name}={value}" for name, value in rows]


def wrapped(words, width=120):
    """Words of a command as comment lines that may be pasted into a shell; an option stays beside its value."""
    pieces = []
    for word in words:
        if pieces and pieces[-1].startswith("--") and " " not in pieces[-1] and not word.startswith("--"):
            pieces[-1] += " " + word
        else:
            pieces.append(word)
    lines, line = [], "#  "
    for piece in pieces:
        if len(line) + len(piece) + 3 > width:
            lines.append(line + " \\")
            line = "#    "
        line += " " + piece
    return lines + [line]


def batch_script(o, command, given):
    """`command`: the program and its arguments; `given`: the words behind launch/submit.py that made this script."""
    words = [shlex.quote(word) for word in given if word not in ("--dry-run", "--no-check")]
    lines = ["#!/usr/bin/env bash",
             "# Written by the command below, which queues it; with --dry-run it prints this file. To change something,",
             "# give that command other options.",
             *wrapped(["launch/submit.py", *words]),
             *directives(o),
             *prologue(o),
             *environment(o),
             "",
             *settings(o, command),
             "",
             "[ -e slurm/job.sh ] ||",
             "  { echo \"job: error: $PWD is not medfuse's checkout: submit from there\" >&2; exit 2; }",
             "# shellcheck source=slurm/job.sh",
             "source slurm/job.sh",
             "run_job"]
    return "\n".join(lines) + "\n"
