"""Two hosts on one machine, with a cable between them: each has its own network, its own name, and the second its own table of
processes. Nothing of it outlives this program, however that ends."""
import os
import pathlib
import signal
import subprocess
import time

NAMES = ["host-a", "host-b"]
ADDRESSES = ["10.97.31.1", "10.97.31.2"]


class NoHosts(Exception):
    """This machine does not let us make any: says why."""


class TwoHosts:
    """The first is where mpirun is started. Its processes are seen from here by the same numbers; those of the second are not,
    so programs on the two cannot find each other's memory, as on real hosts."""

    def __init__(self, folder, slots=(1, 1)):
        """`slots`: ranks on each."""
        self.holders = []
        try:
            self.holders = [self._hold(NAMES[0], []), self._hold(NAMES[1], ["--pid", "--mount-proc"])]
            self.pids = [self._child(holder) for holder in self.holders]
            self._connect()
        except (OSError, subprocess.SubprocessError) as error:
            self.close()
            words = getattr(error, "stderr", None) or error
            raise NoHosts(f"no hosts can be simulated here: {words}".strip()) from error
        self.agent = folder / "agent"  # what mpirun starts its part on the other host with: AGENT HOST COMMAND
        self.agent.write_text(f'#!/bin/sh\nshift\nexec nsenter -t {self.pids[1]} -n -u -p -m sh -c "$*"\n')
        self.agent.chmod(0o700)
        self.hostfile = folder / "hosts"
        self.hostfile.write_text("".join(f"{address} slots={n}\n" for address, n in zip(ADDRESSES, slots)))
        self.environment = {"OMPI_MCA_plm_rsh_agent": str(self.agent),  # of an mpirun that uses both
                            "OMPI_MCA_orte_default_hostfile": str(self.hostfile)}

    @staticmethod
    def _hold(name, more):
        """A process that keeps the host there; it is killed with this program, and with it all that runs on the second."""
        return subprocess.Popen(["setpriv", "--pdeathsig", "KILL", "unshare", "--net", "--uts", *more, "--fork",
                                 "--kill-child", "sh", "-c", f"hostname {name} && exec sleep infinity"],
                                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)

    @staticmethod
    def _child(holder):
        children = pathlib.Path(f"/proc/{holder.pid}/task/{holder.pid}/children")
        end = time.monotonic() + 10
        while time.monotonic() < end:
            if holder.poll() is not None:
                raise OSError(holder.stderr.read().strip())
            for child in children.read_text().split():
                if pathlib.Path(f"/proc/{child}/comm").read_text() == "sleep\n":
                    return int(child)
            time.sleep(0.02)
        raise OSError("unshare starts nothing")

    def on(self, host):
        """What goes before a command that runs on this host."""
        return ["nsenter", "-t", str(self.pids[host]), "-n", "-u", *(["-p", "-m"] if host == 1 else [])]

    def _run(self, *command):
        subprocess.run(command, check=True, capture_output=True, text=True)

    def _connect(self):
        self._run("ip", "link", "add", "name", "cable", "netns", str(self.pids[0]), "type", "veth", "peer", "name", "cable",
                  "netns", str(self.pids[1]))
        for host in (0, 1):
            self._run(*self.on(host), "ip", "address", "add", f"{ADDRESSES[host]}/24", "dev", "cable")
            for device in ("lo", "cable"):
                self._run(*self.on(host), "ip", "link", "set", device, "up")

    def cut(self):
        self._run(*self.on(0), "ip", "link", "set", "cable", "down")

    def mend(self):
        self._run(*self.on(0), "ip", "link", "set", "cable", "up")
        self._wait_until_reachable()

    def _wait_until_reachable(self):
        """Until each host refuses what nobody there listens for."""
        for host in (0, 1):
            end = time.monotonic() + 20
            knock = [*self.on(host), "timeout", "1", "bash", "-c", f"exec 3<>/dev/tcp/{ADDRESSES[1 - host]}/9"]
            while "refused" not in subprocess.run(knock, capture_output=True, text=True).stderr:
                if time.monotonic() > end:
                    raise OSError("the link does not come back")
                time.sleep(0.1)

    def lose_silently(self):
        """Nothing arrives any more, and nobody is told: as behind a switch that fails."""
        for host in (0, 1):
            self._run(*self.on(host), "ip", "neighbour", "replace", ADDRESSES[1 - host], "lladdr", "02:00:00:00:00:99", "dev",
                      "cable", "nud", "permanent")

    def find_again(self):
        for host in (0, 1):
            self._run(*self.on(host), "ip", "neighbour", "delete", ADDRESSES[1 - host], "dev", "cable")
        self._wait_until_reachable()

    def processes(self, host):
        """Numbers and names of what runs on this host, as seen from here; without what keeps it there and zombies."""
        place = os.readlink(f"/proc/{self.pids[host]}/ns/net")
        found = []
        for folder in pathlib.Path("/proc").glob("[0-9]*"):
            try:
                if os.readlink(folder / "ns" / "net") != place or int(folder.name) == self.pids[host]:
                    continue
                name, rest = (folder / "stat").read_text().split("(", 1)[1].rsplit(")", 1)
            except OSError:
                continue  # gone meanwhile
            if rest.split()[0] != "Z" and int(folder.name) not in [h.pid for h in self.holders]:
                found.append((int(folder.name), name))
        return found

    def clear(self):
        """Ends what still runs on either."""
        for host in (0, 1):
            for pid, _ in self.processes(host):
                os.kill(pid, signal.SIGKILL)

    def close(self):
        for holder in self.holders:
            holder.kill()
            holder.wait()
            holder.stderr.close()
