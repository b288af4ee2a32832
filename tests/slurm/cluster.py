#!/usr/bin/env python3
"""A real Slurm on one machine, for tests: munged, slurmctld and a slurmd for each node, of Debian's packages.

Each node has a host name, process ids and /proc of its own (namespaces), so that MPI sees several hosts and a node can be
killed like one: with all that runs on it. They talk over loopback, and have a folder each for what a node keeps on its own
disk. Everything lies in one folder and ends with this process, whatever happens to it. Root is needed.

  tests/slurm/cluster.py FOLDER     starts one, prints how to use it, and stops it on Ctrl-C
"""
import ctypes
import os
import pathlib
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time

PROGRAMS = ["munged", "slurmctld", "slurmd", "sbatch", "squeue", "scontrol", "scancel", "sinfo", "unshare", "ip"]
PATH = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
CPUS = 4  # of a node, whatever the machine has: ranks share the real ones
GPU_NODES = 8  # that sbatch may be asked about; they are started by tests that want them, and can run nothing

# Timeouts are a hundredth of a real cluster's. cred_expire is also how long a requeued job waits before it may start.
CONFIGURATION = """
ClusterName=medfuse
SlurmctldHost=controller(127.0.0.1)
SlurmctldPort={controller_port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket,cred_expire=5
StateSaveLocation={folder}/state
SlurmctldPidFile={folder}/slurmctld.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdSpoolDir={folder}/spool-%n
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmdLogFile={folder}/slurmd-%n.log
TmpFS={folder}/local
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
DefMemPerCPU=500
SlurmdParameters=config_overrides
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=1,sched_interval=1,sched_min_interval=100000,bf_interval=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
ReturnToService=2
SlurmdTimeout=4
MessageTimeout=3
KillWait=8
InactiveLimit=0
MinJobAge=3600
GresTypes=gpu
{nodes}
PartitionName=normal Nodes=node[1-{count}] Default=YES MaxTime=INFINITE State=UP PriorityTier=1 GraceTime=60
PartitionName=urgent Nodes=node[1-{count}] MaxTime=INFINITE State=UP PriorityTier=2 PreemptMode=OFF
PartitionName=gpu Nodes=gpu[1-{gpu_count}] MaxTime=INFINITE State=UP
"""


def missing():
    """Why no cluster can be started here; empty if one can."""
    if os.geteuid() != 0:
        return "Slurm's daemons and the nodes' namespaces need root"
    for program in PROGRAMS:
        if not shutil.which(program, path=PATH):
            return f"{program} is not installed: launch/install.sh --tests"
    tried = subprocess.run(["unshare", "--net", "--uts", "--pid", "--fork", "--mount-proc",
                            "ip", "link", "add", "aside", "type", "veth", "peer", "name", "nowhere"],
                           env={"PATH": PATH}, capture_output=True)
    return "" if tried.returncode == 0 else f"namespaces are not allowed here: {tried.stderr.decode().strip()}"


def own_network():
    """Gives this process, and all that it starts, a network of its own: loopback, and no port that anybody else has."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(0x40000000) != 0:  # CLONE_NEWNET
        raise OSError(ctypes.get_errno(), "a network namespace cannot be made")
    # Slurm resolves 127.0.0.1 only where there is another address as well (AI_ADDRCONFIG): one that leads nowhere.
    for words in ["link set lo up", "link add aside type veth peer name nowhere", "address add 192.0.2.1/32 dev aside",
                  "link set aside up"]:
        subprocess.run(["ip", *words.split()], env={"PATH": PATH}, check=True)


def free_ports(count):
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [s.getsockname()[1] for s in held]
    for s in held:
        s.close()
    return ports


class Cluster:
    def __init__(self, folder, nodes=3):
        self.folder = pathlib.Path(folder).resolve()
        self.folder.mkdir(parents=True, exist_ok=True)
        self.nodes = [f"node{i + 1}" for i in range(nodes)]
        self.local = self.folder / "local"  # on each node another folder: the disk of a node, seen from here as local-NODE
        self.local.mkdir(exist_ok=True)
        self.daemons = {}
        self.gpu_nodes = [f"gpu{i + 1}" for i in range(GPU_NODES)]
        ports = free_ports(nodes + GPU_NODES + 1)
        lines = [f"NodeName={name} NodeAddr=127.0.0.1 Port={port} State=UNKNOWN " +
                 (f"CPUs={CPUS} RealMemory=4000" if name in self.nodes else "CPUs=96 RealMemory=2000000 Gres=gpu:8")
                 for name, port in zip(self.nodes + self.gpu_nodes, ports)]
        self.configuration = self.folder / "slurm.conf"
        self.configuration.write_text(CONFIGURATION.format(
            folder=self.folder, controller_port=ports[-1], nodes="\n".join(lines), count=nodes, gpu_count=GPU_NODES))
        for i in range(8):
            (self.folder / f"gpu{i}").symlink_to("/dev/null")  # Slurm wants to see a device
        (self.folder / "gres.conf").write_text(f"NodeName=gpu[1-{GPU_NODES}] Name=gpu File={self.folder}/gpu[0-7]\n")
        self.environment = {key: value for key, value in os.environ.items()
                            if not key.startswith(("SLURM", "SBATCH", "OMPI_", "PMIX_"))}
        self.environment |= {"PATH": PATH, "SLURM_CONF": str(self.configuration)}

    def start(self):
        """Returns when jobs can run."""
        try:
            self._start_munge()
            (self.folder / "state").mkdir(exist_ok=True)
            self._start("slurmctld", ["slurmctld", "-D", "-f", str(self.configuration)], host="controller")
            for node in self.nodes:
                self.start_node(node)
            self.wait_for_nodes(self.nodes)
        except BaseException:
            self.stop()
            raise

    def stop(self):
        for name in list(self.daemons):
            self.kill(name)

    def kill(self, name):
        """Ends a daemon, at once, with all that it ever started: they live in its process namespace."""
        daemon = self.daemons.pop(name)
        daemon.send_signal(signal.SIGKILL)  # unshare's death is its child's (--kill-child), the namespace's first process
        daemon.wait()

    def start_node(self, node):
        """For the first time, or after kill(); returns at once."""
        self._start(node, ["slurmd", "-D", "-f", str(self.configuration)], host=node)

    def call(self, *command, check=True):
        """Runs a Slurm command; its standard output."""
        done = subprocess.run(list(map(str, command)), env=self.environment, capture_output=True, text=True, timeout=60)
        if check and done.returncode != 0:
            raise RuntimeError(f"{command}: exit code {done.returncode}: {done.stdout}{done.stderr}")
        return done.stdout.strip()

    def wait_for_nodes(self, nodes, seconds=60):
        """Until Slurm can use them."""
        def idle():
            states = self.call("sinfo", "-h", "-N", "-o", "%N %T", check=False).splitlines()
            return {line.split()[0] for line in states if line.split()[1] in ("idle", "mixed", "allocated")}
        until = time.monotonic() + seconds
        while not set(nodes) <= idle():
            if time.monotonic() > until:
                states = self.call("sinfo", "-N", "-l", check=False)
                raise RuntimeError(f"nodes {nodes} are not ready after {seconds} s: {states}\n{self.logs()}")
            time.sleep(0.2)

    def logs(self, lines=20):
        """What the controller said last."""
        path = self.folder / "slurmctld.log"
        return "\n".join(path.read_text(errors="replace").splitlines()[-lines:]) if path.exists() else ""

    def _start(self, name, command, host):
        # bash stays the namespace's first process, which has to reap orphans (slurmstepd) that slurmd would not.
        own = self.folder / f"local-{host}"
        own.mkdir(exist_ok=True)
        script = f'hostname "$0" && mount --bind "{own}" "{self.local}" && {{ "$@" & wait; }}'
        out = open(self.folder / f"{name}.out", "ab")
        self.daemons[name] = subprocess.Popen(
            ["unshare", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc", "bash", "-c", script, host, *command],
            env=self.environment, stdin=subprocess.DEVNULL, stdout=out, stderr=out, preexec_fn=die_with_parent)
        out.close()

    def _start_munge(self):
        folder = self.folder / "munge"
        folder.mkdir(mode=0o755, exist_ok=True)
        key = folder / "key"
        key.touch(mode=0o600)
        key.write_bytes(secrets.token_bytes(128))
        self._start("munged", ["munged", "--foreground", "--force", f"--key-file={key}", f"--socket={folder}/socket",
                               f"--pid-file={folder}/pid", f"--log-file={folder}/munged.log", f"--seed-file={folder}/seed"],
                    host="controller")
        until = time.monotonic() + 20
        while not (folder / "socket").exists():
            if time.monotonic() > until or self.daemons["munged"].poll() is not None:
                raise RuntimeError(f"munged does not start: {(self.folder / 'munged.out').read_text()}")
            time.sleep(0.05)


def die_with_parent():
    """So that a killed test leaves no daemon behind."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def main():
    if len(sys.argv) != 2:
        print("usage: tests/slurm/cluster.py FOLDER", file=sys.stderr)
        return 2
    reason = missing()
    if reason:
        print(f"cluster: error: {reason}", file=sys.stderr)
        return 2
    cluster = Cluster(sys.argv[1])
    try:
        cluster.start()
        print(f"export SLURM_CONF={cluster.configuration} PATH=$PATH:/usr/sbin\n"
              f"# {len(cluster.nodes)} nodes of {CPUS} CPUs are ready; Ctrl-C stops them", flush=True)
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        signal.pause()
    except KeyboardInterrupt:
        pass
    finally:
        cluster.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
