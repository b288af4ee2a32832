#!/usr/bin/env bash
# Everything in full, many hours: all tests with every mesh, every fault and 120 kills; all unit tests with the address and
# undefined-behaviour sanitizers; every fuzz target for five minutes (needs clang: tests/fuzz/run.sh). Ends at the first that fails.
set -euo pipefail
cd "$(dirname "$0")/.."
MEDFUSE_EVERY_MESH=1 MEDFUSE_EVERY_FAULT=1 MEDFUSE_KILLS="${MEDFUSE_KILLS:-120}" tests/run.sh
tests/sanitized.sh --all
tests/fuzz/run.sh 300
