#!/usr/bin/env bash
# Builds medfuse into build/ with two jobs (MEDFUSE_JOBS for more). Does nothing when all is up to date.
set -euo pipefail
cd "$(dirname "$0")/.."
cmake --preset default ${MEDFUSE_HIDE_CUDA_TOOLKIT:+-DMEDFUSE_HIDE_CUDA_TOOLKIT=ON} -DMEDFUSE_TORCH="${MEDFUSE_TORCH:-}" \
  -DMEDFUSE_NVIDIA="${MEDFUSE_NVIDIA:-}" \
  ${MEDFUSE_DEPS:+-DMEDFUSE_DEPS="$MEDFUSE_DEPS"} >build-configure.log 2>&1 || { cat build-configure.log >&2; exit 2; }
rm -f build-configure.log
exec cmake --build build -j "${MEDFUSE_JOBS:-2}" "$@"
