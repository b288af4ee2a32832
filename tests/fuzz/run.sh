#!/usr/bin/env bash
# Fuzzes the parsers of files from outside, one after the other, with libFuzzer and the address and undefined-behaviour
# sanitizers: tests/fuzz/run.sh SECONDS [TARGET ...]. Needs clang and its libFuzzer (Debian: apt-get install clang), which
# nothing else does. Inputs found on the way stay in build-fuzz/corpus, so a later run goes on from there; what breaks a
# parser goes to build-fuzz/findings, and its exit code is 1.
set -euo pipefail
cd "$(dirname "$0")/../.."
all=(tokenizer table numeric_table config packed packed_index safetensors safetensors_index hf_config manifest)

die() { printf 'fuzz: error: %s\n' "$*" >&2; exit 2; }

[[ ${1:-} =~ ^[1-9][0-9]*$ ]] || die "usage: tests/fuzz/run.sh SECONDS [TARGET ...]; targets: ${all[*]}"
seconds=$1
shift
targets=("${@:-${all[@]}}")
[ $# -gt 0 ] || targets=("${all[@]}")
compiler=${MEDFUSE_CLANG:-clang++}
command -v "$compiler" >/dev/null || die "$compiler is missing: apt-get install clang, or set MEDFUSE_CLANG"
probe=$(mktemp -d)
trap 'rm -rf "$probe"' EXIT
printf 'extern "C" int LLVMFuzzerTestOneInput(const unsigned char*, unsigned long) { return 0; }' >"$probe/a.cpp"
"$compiler" -fsanitize=fuzzer,address,undefined "$probe/a.cpp" -o "$probe/a" 2>"$probe/log" ||
  die "$compiler has no libFuzzer or sanitizers: $(head -1 "$probe/log"); on Debian they come with clang (libclang-rt-*-dev)"

launch/configure.sh -B build-fuzz -G Ninja -DCMAKE_CXX_COMPILER="$compiler" -DMEDFUSE_FUZZ=ON \
  -DMEDFUSE_SANITIZE=address,undefined,float-cast-overflow
cmake --build build-fuzz --parallel "${MEDFUSE_JOBS:-$(nproc)}" --target "${targets[@]/%/_fuzz}"

# Each input is written to a file: in memory, in a folder that goes even if a target is killed.
memory=$(mktemp -d -p "$([ -w /dev/shm ] && echo /dev/shm || echo "${TMPDIR:-/tmp}")" fuzz-XXXXXX)
trap 'rm -rf "$probe" "$memory"' EXIT
export TMPDIR=$memory
export UBSAN_OPTIONS=print_stacktrace=1
status=0
for target in "${targets[@]}"; do
  work=build-fuzz/corpus/$target findings=build-fuzz/findings/$target log=build-fuzz/$target.log
  mkdir -p "$work" "$findings"
  dictionary=tests/fuzz/$target.dict
  result=ok
  # Larger inputs than 16 KiB would find little more and slow it down; kept ones may be larger.
  build-fuzz/tests/fuzz/"${target}_fuzz" -max_total_time="$seconds" -timeout=10 -malloc_limit_mb=2048 -rss_limit_mb=3072 \
    -max_len=16384 -artifact_prefix="$findings/" -print_final_stats=1 \
    $([ ! -f "$dictionary" ] || echo "-dict=$dictionary") "$work" tests/fuzz/corpus/"$target" >"$log" 2>&1 || result=FINDING
  [ $result = ok ] || status=1
  printf '%-18s %s, %s inputs run, coverage %s, log %s\n' "$target" $result \
    "$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")" "$(grep -o 'cov: [0-9]*' "$log" | tail -1 | cut -d' ' -f2)" "$log"
done
exit $status
