#!/usr/bin/env bash
# One node's copy of the packed data, readable by its owner only.
#   slurm/stage.sh copy FROM FOLDER NAME   to FOLDER/NAME, comparing every byte of what was written with its source
#   slurm/stage.sh keep FOLDER NAME        waits for USR1, USR2 or TERM and for the end of all that read it, then removes it
set -euo pipefail
umask 077

die() { printf 'stage: error: %s: %s\n' "$(hostname)" "$*" >&2; exit 3; }

copy() {
  local from=$1 to=$2 file
  rm -rf -- "$to"  # of an earlier start of this job that was killed
  mkdir -p -- "$to" || die "$to: cannot be made"
  for file in "$from"/index.json "$from"/shard-*.h5; do
    [ -f "$file" ] || die "$from: no packed data: $file is missing"
    cp -- "$file" "$to/" || die "$file: cannot be copied to $to"
    cmp -- "$file" "$to/${file##*/}" || die "$to/${file##*/}: is not what was copied"
  done
}

# Ranks have it as a word of their command line; this script has not.
in_use() { grep -qszxF -e "$1" /proc/[0-9]*/cmdline; }

# Slurm starts nothing more in a job that it is ending, so somebody must be there already. The signal that ends the job also
# reaches the ranks, which go on reading until their checkpoint is written. It may come before they have begun.
keep() {
  local to=$1 told='' seen='' left=25 never
  exec {never}<> <(:)  # nothing ever comes from there: reading is a sleep without a process that a signal would kill
  trap 'told=1' USR1 USR2 TERM
  while [ -z "$told" ] || [ -z "$seen" ] || in_use "$to"; do
    [ -n "$seen" ] || ! in_use "$to" || seen=1
    [ -z "$told" ] || [ -n "$seen" ] || [ $((left -= 1)) -gt 0 ] || break
    read -rt 0.2 -u "$never" || true
  done
  rm -rf -- "$to"
}

case ${1:-}:$# in
  copy:4)
    trap '' USR1 USR2 TERM  # whether to go on is not for a half-made copy to decide
    copy "$2" "${3%/}/$4"
    ;;
  keep:3) keep "${2%/}/$3" ;;
  *)
    printf 'usage: slurm/stage.sh copy FROM FOLDER NAME | keep FOLDER NAME\n' >&2
    exit 2
    ;;
esac
