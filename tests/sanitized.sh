#!/usr/bin/env bash
# Runs unit tests with the address and undefined-behaviour sanitizers: tests/sanitized.sh [--all] [ctest's options].
# Without --all those that need no LibTorch, and the kept inputs of the fuzz targets, in a few minutes; with it all unit
# tests. Builds into build-sanitized.
set -euo pipefail
cd "$(dirname "$0")/.."
targets=(torch_free_tests)
selection=(-L torch_free)
# LibTorch, Open MPI and libhdf5 are not compiled with the sanitizer; what they keep until the end would drown leaks of ours.
leaks=1
if [ "${1:-}" = --all ]; then
  shift
  targets=(all)
  # Not what needs another program than the test (launch, slurm, bench: hours), nor the thread sanitizer's, which are not built.
  selection=(-E '^(house|launch_|slurm_|bench_)')
  leaks=0
fi
launch/configure.sh -B build-sanitized -G Ninja -DMEDFUSE_SANITIZE=address,undefined,float-cast-overflow
cmake --build build-sanitized --parallel "${MEDFUSE_JOBS:-2}" --target "${targets[@]}"
export ASAN_OPTIONS=detect_leaks=$leaks:detect_stack_use_after_return=1:strict_string_checks=1
export UBSAN_OPTIONS=print_stacktrace=1
exec ctest --test-dir build-sanitized --parallel "${MEDFUSE_JOBS:-2}" --output-on-failure "${selection[@]}" "$@"
