"""The rules of the house, read off the includes: nothing includes upwards, no two files include each other, headers say
what they are for, and files stay short enough to read."""
import os
import pathlib
import re
import unittest

ROOT = pathlib.Path(os.environ["MEDFUSE_ROOT"])
MAY_INCLUDE = {
    "base": {"base"},
    "cluster": {"base", "cluster"},
    "data": {"base", "data"},
    "src": {"base", "cluster", "data", "src"},
    "launch": {"base", "cluster", "data", "src", "launch"},
    "bench": {"base", "cluster", "data", "src", "launch", "bench"},
}
# Within src, from the ground up: a room includes those on its own floor or below.
FLOORS = [{"ops", "weights"}, {"model", "parallel", "checkpoint"}, {"train"}, {"evaluate", "plan"}]
LONGEST = 400


def files():
    for room in MAY_INCLUDE:
        for path in sorted((ROOT / room).rglob("*")):
            if path.suffix in (".h", ".cpp"):
                yield path.relative_to(ROOT)


def includes(path):
    text = (ROOT / path).read_text()
    return [pathlib.Path(name) for name in re.findall(r'^#include "([^"]+)"', text, re.M)]


def floor(path):
    return next((i for i, rooms in enumerate(FLOORS) if path.parts[1] in rooms), None)


class House(unittest.TestCase):
    def test_no_include_runs_upwards(self):
        for path in files():
            for name in includes(path):
                self.assertIn(name.parts[0], MAY_INCLUDE[path.parts[0]], f"{path} includes {name}")
                self.assertTrue((ROOT / name).exists(), f"{path} includes {name}, which is not there")
                if path.parts[0] == name.parts[0] == "src":
                    self.assertLessEqual(floor(name), floor(path), f"{path} includes {name}")

    def test_no_cycles(self):
        graph = {path: includes(path) for path in files() if path.suffix == ".h"}
        done, under_way = set(), []

        def visit(path):
            if path in done or path not in graph:
                return
            self.assertNotIn(path, under_way, "cycle")
            under_way.append(path)
            for name in graph[path]:
                visit(name)
            under_way.pop()
            done.add(path)

        for path in graph:
            visit(path)

    def test_headers_say_what_they_are_for(self):
        for path in files():
            if path.suffix == ".h":
                lines = (ROOT / path).read_text().splitlines()
                self.assertTrue(lines[0].startswith("// "), path)
                self.assertIn("#pragma once", lines, path)

    def test_sources_include_their_header_first(self):
        """So a header that does not say all it needs does not compile; cmake/HeadersAlone.cmake relies on it."""
        for path in files():
            own = path.with_suffix(".h")
            if path.suffix == ".cpp" and (ROOT / own).exists():
                first = re.search(r"^#include (.*)", (ROOT / path).read_text(), re.M).group(1)
                self.assertEqual(first, f'"{own}"', path)

    def test_files_are_short(self):
        for path in files():
            self.assertLessEqual(len((ROOT / path).read_text().splitlines()), LONGEST, path)


if __name__ == "__main__":
    unittest.main()
