"""Options of launch/submit.py: what a job asks of the cluster, and how it is started, stopped and started again."""
import argparse
import re

from slurm_job import Refusal

TIME = r"\d+|\d+:\d+(:\d+)?|\d+-\d+(:\d+){0,2}"


class Parser(argparse.ArgumentParser):
    def error(self, message):
        raise Refusal(2, f"{message}; see --help")


def count(least):
    def convert(text):
        if not re.fullmatch(r"\d{1,6}", text) or int(text) < least:
            raise argparse.ArgumentTypeError(f"'{text}': a whole number of at least {least} is needed")
        return int(text)
    return convert


def pattern(expression, what):
    def convert(text):
        if not re.fullmatch(expression, text):
            raise argparse.ArgumentTypeError(f"'{text}': {what} is needed")
        return text
    return convert


WORD = pattern(r"[^\s#]+", "one word without #")
LINE = pattern(r"[^\n]+", "one line")


def variable(text):
    name, equals, value = text.partition("=")
    if not equals or not re.fullmatch(r"[A-Za-z_]\w*", name) or "\n" in value:
        raise argparse.ArgumentTypeError(f"'{text}': NAME=VALUE is needed")
    return name, value


def parser(description):
    parser = Parser(prog="launch/submit.py", allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter,
                    description=description,
                    usage="launch/submit.py --config FILE --run DIR [options] [-- options of medfuse train]")
    add = parser.add_argument
    add("--config", type=WORD, required=True, metavar="FILE", help="configuration of medfuse train")
    add("--run", type=WORD, required=True, metavar="DIR", help="run folder; a run that is there is continued")
    add("--dry-run", action="store_true", help="print the script and queue nothing")
    add("--no-check", action="store_true", help="queue it without `medfuse plan` and without looking for data and weights")

    add = parser.add_argument_group("the job").add_argument
    add("--nodes", type=count(1), default=1, metavar="N")
    add("--tasks-per-node", type=count(1), metavar="N", help="ranks on a node; default: one a GPU, without GPUs 1")
    add("--gpus-per-node", type=count(0), default=0, metavar="N", help="0: a CPU job")
    add("--gpu-type", type=WORD, metavar="NAME", help="of those, as the site calls it (h100)")
    add("--cpus-per-task", type=count(1), default=1, metavar="N", help="cores, and threads, of a rank")
    add("--mem", type=pattern(r"\d+[KMGT]?", "memory such as 64G"), metavar="SIZE",
        help="host memory of a node; 0: all of it")
    add("--time", type=pattern(TIME, "[days-]hours:minutes:seconds, or minutes,"), metavar="TIME",
        help="limit of one start; the run stops itself before it, and goes on in the next")
    for name in ("partition", "account", "qos", "constraint", "job-name"):
        add(f"--{name}", type=WORD, metavar="NAME")
    add("--sbatch", type=pattern(r"--?[^\n]+", "an option of sbatch"), action="append", default=[], metavar="OPTION",
        help="another option of sbatch (--sbatch=--exclusive); may be given again")

    add = parser.add_argument_group("stopping and starting again").add_argument
    add("--requeue-limit", type=count(0), default=20, metavar="N", help="most restarts; 0: none")
    add("--failure-limit", type=count(1), default=3, metavar="N",
        help="failures in a row that left no new checkpoint, after which it is not started again")
    add("--signal", type=pattern(r"(USR1|USR2)@\d{1,5}", "USR1 or USR2, @ and seconds,"), default="USR1@180",
        metavar="NAME@SECONDS",
        help="what the ranks get so long before the limit, should they not have stopped by themselves")

    add = parser.add_argument_group("on the nodes").add_argument
    add("--launcher", choices=["srun", "mpirun"], default="srun")
    add("--launcher-option", type=LINE, action="append", default=[], metavar="WORD",
        help="another word for it, such as --launcher-option=--cpu-bind=cores; may be given again")
    add("--stage", type=pattern(r"(/|\$[A-Za-z_]\w*)[^\n]*", "a node-local folder (/tmp, $TMPDIR)"), metavar="DIR",
        help="copy the packed data to this folder of each node, and read them there")
    add("--interface", type=WORD, metavar="NAME", help="network interface for NCCL's and Open MPI's TCP")
    add("--ib-hca", type=WORD, metavar="NAMES", help="InfiniBand adapters, in NCCL's words (mlx5, or =mlx5_0,mlx5_1)")
    add("--setup", type=LINE, action="append", default=[], metavar="LINE",
        help="line of the script before all else (module load openmpi hdf5); may be given again")
    add("--env", type=variable, action="append", default=[], metavar="NAME=VALUE", help="may be given again")
    add("--program", type=WORD, default="build/launch/medfuse", metavar="FILE")
    add("--machine", type=WORD, metavar="FILE",
        help="description of a node for `medfuse plan`; default: configs/machines/h100-sxm.cfg for GPU jobs; without one, "
        "nothing is said of a CPU job's memory")
    return parser
