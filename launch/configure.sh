#!/usr/bin/env bash
# Runs cmake in the checkout's folder with the options that the environment stands for (MEDFUSE_DEPS, MEDFUSE_TORCH,
# MEDFUSE_NVIDIA, MEDFUSE_HIDE_CUDA_TOOLKIT), and prints what it says only if it fails: launch/configure.sh CMAKE-ARGUMENTS...
set -euo pipefail
cd "$(dirname "$0")/.."
log=$(mktemp)
trap 'rm -f "$log"' EXIT
cmake "$@" ${MEDFUSE_HIDE_CUDA_TOOLKIT:+-DMEDFUSE_HIDE_CUDA_TOOLKIT=ON} -DMEDFUSE_TORCH="${MEDFUSE_TORCH:-}" \
  -DMEDFUSE_NVIDIA="${MEDFUSE_NVIDIA:-}" ${MEDFUSE_DEPS:+-DMEDFUSE_DEPS="$MEDFUSE_DEPS"} >"$log" 2>&1 ||
  { cat "$log" >&2; exit 2; }
