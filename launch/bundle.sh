#!/usr/bin/env bash
# Puts medfuse and the shared libraries that it needs into one folder, to be copied to a machine that has no Open MPI, HDF5
# or Boost, but Python's torch 2.11.0 (with its NVIDIA packages) and a C library at least as new as this machine's:
#   launch/bundle.sh FOLDER      then there: FOLDER/medfuse info
# and, in FOLDER for the sake of configs/, ./medfuse plan ... or the benchmark of fine-tuning, ./medfuse_bench_finetune ...
# LibTorch, CUDA and NCCL stay those of that Python. Without mpirun the program is a job of one rank.
set -euo pipefail
if [ $# -ne 1 ]; then
  printf 'usage: launch/bundle.sh FOLDER     (must not exist yet)\n' >&2
  exit 2
fi
root=$(cd "$(dirname "$0")/.." && pwd)
programs=("$root/build/launch/medfuse" "$root/build/bench/medfuse_bench_finetune")
folders=$root/build/torch_folders
target=$1
for file in "${programs[@]}" "$folders"; do
  if [ ! -f "$file" ]; then
    printf 'bundle: %s is not there; run launch/build.sh first\n' "$file" >&2
    exit 2
  fi
done
if [ -e "$target" ]; then
  printf 'bundle: %s is there already; name another folder or remove it\n' "$target" >&2
  exit 2
fi
mkdir -p "$target"/bin "$target"/lib "$target"/openmpi "$target"/pmix

# Of what ldd finds, all but the C library, which goes with the machine, and what comes with the torch of the build.
resolved() {
  awk '$2 == "=>" && $3 ~ /^\// { print $3 }' | sort -u |
    grep -v -e '/\(libc\|libm\|libdl\|librt\|libutil\|libpthread\|libresolv\)\.so' -e /ld-linux | without_torch
}
without_torch() {
  local library folder prefix torch
  mapfile -t torch < <(xargs -d '\n' realpath -m <"$folders")
  while read -r library; do
    folder=$(realpath "${library%/*}")/
    for prefix in "${torch[@]}"; do
      if [[ $folder == "$prefix"/* ]]; then continue 2; fi
    done
    printf '%s\n' "$library"
  done
}

cp "${programs[@]}" "$target/bin/"
cp -r "$root/configs" "$target/"
# Open MPI and PMIx load their parts by name at run time.
mpi_parts=$(dirname "$(ldconfig -p | awk '$1 == "libmpi.so.40" { print $NF; exit }')")/openmpi/lib/openmpi3
pmix_parts=${mpi_parts%/openmpi/*}/pmix2/lib/pmix
cp "$mpi_parts"/mca_*.so "$target/openmpi/"
for part in "$pmix_parts"/mca_*.so; do
  if [ -f "$part" ]; then cp "$part" "$target/pmix/"; fi
done
cp -r /usr/share/openmpi "$target/help"
find "$target"/openmpi "$target"/pmix -name '*.so' -print0 | xargs -0 ldd "${programs[@]}" | resolved | xargs -I{} cp -L {} "$target/lib/"

cat >"$target/medfuse" <<'START'
#!/bin/sh
# Starts the program of this name in bin/ with the LibTorch of a Python (MEDFUSE_PYTHON, else python3).
here=$(cd "$(dirname "$0")" && pwd)
torch=$("${MEDFUSE_PYTHON:-python3}" -c '
import glob, os, torch
if torch.__version__.split("+")[0] != "2.11.0":
    raise SystemExit("medfuse: torch " + torch.__version__ + " is there, 2.11.0 is needed: pip install torch==2.11.0")
packages = os.path.dirname(os.path.dirname(torch.__file__))
print(":".join([os.path.join(packages, "torch/lib")] + sorted(glob.glob(os.path.join(packages, "nvidia/*/lib")))))
') || { echo "medfuse: no torch 2.11.0 in ${MEDFUSE_PYTHON:-python3}; name another Python with MEDFUSE_PYTHON" >&2; exit 2; }
export LD_LIBRARY_PATH="$torch:$here/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
export OMPI_MCA_mca_base_component_path="$here/openmpi" PMIX_MCA_mca_base_component_path="$here/pmix"
export OPAL_PKGDATADIR="$here/help" OMPI_MCA_ess_singleton_isolated=1
exec "$here/bin/${0##*/}" "$@"
START
chmod +x "$target/medfuse"
cp "$target/medfuse" "$target/medfuse_bench_finetune"
printf 'bundle: %s, %s\n' "$target" "$(du -sh "$target" | cut -f1)"
