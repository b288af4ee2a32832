#!/usr/bin/env bash
# Builds medfuse into build/ with two jobs (MEDFUSE_JOBS for more). Does nothing when all is up to date.
set -euo pipefail
cd "$(dirname "$0")/.."
launch/configure.sh --preset default
exec cmake --build build -j "${MEDFUSE_JOBS:-2}" "$@"
