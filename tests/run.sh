#!/usr/bin/env bash
# Builds and runs every test: the one command that says whether this checkout works.
# Arguments go to ctest (for example: tests/run.sh -R tokenizer).
set -euo pipefail
cd "$(dirname "$0")/.."
launch/install.sh --tests
launch/build.sh
launch/weights.sh
exec ctest --test-dir build --output-on-failure --timeout 900 "$@"
