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
  # Not what needs another program than the test (launch, slurm, bench: hours), nor what compares times; the thread sanitizer's
  # are not built.
  selection=(-E '^(house|launch_|slurm_|bench_|mpi_overlap_test|overlap_mpi_test)')
  leaks=0
fi
launch/configure.sh -B build-sanitized -G Ninja -DMEDFUSE_SANITIZE=address,undefined,float-cast-overflow
cmake --build build-sanitized --parallel "${MEDFUSE_JOBS:-2}" --target "${targets[@]}"
# The library that lets calls fail (tests/faults) is loaded before the sanitizer's.
export ASAN_OPTIONS=detect_leaks=$leaks:detect_stack_use_after_return=1:strict_string_checks=1:verify_asan_link_order=0
export UBSAN_OPTIONS=print_stacktrace=1
exec ctest --test-dir build-sanitized --parallel "${MEDFUSE_JOBS:-2}" --output-on-failure "${selection[@]}" "$@"
