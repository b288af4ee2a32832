"""The communicator's suite with two ranks on one simulated host and one on another: some have memory in common, not all.

Needs root (or the right to make namespaces), util-linux and iproute2; says so and is skipped where these are missing."""
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

from medfuse_cli import ENVIRONMENT
from two_hosts import NAMES, NoHosts, TwoHosts

SLOTS = (2, 1)


def setUpModule():
    global hosts
    folder = tempfile.TemporaryDirectory()
    unittest.addModuleCleanup(folder.cleanup)
    try:
        hosts = TwoHosts(pathlib.Path(folder.name), SLOTS)
    except NoHosts as reason:
        print(f"skipped: {reason}", file=sys.stderr)
        folder.cleanup()
        sys.exit(77)
    unittest.addModuleCleanup(hosts.close)


class UnevenHosts(unittest.TestCase):
    def test_conformance(self):
        command = [*hosts.on(0), "mpirun", "--bind-to", "none", "-np", str(sum(SLOTS)), "sh", "-c",
                   'echo "rank on $(hostname)"; exec "$0" "$1"', os.environ["MEDFUSE_CONFORMANCE"],
                   "--gtest_filter=*/defaults:*/part"]
        done = subprocess.run(command, env={**ENVIRONMENT, **hosts.environment}, capture_output=True, text=True, timeout=300)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertEqual([done.stdout.count(f"rank on {name}\n") for name in NAMES], list(SLOTS))
        self.assertRegex(done.stdout, r"PASSED .*\d\d tests")


if __name__ == "__main__":
    unittest.main()
