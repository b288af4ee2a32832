#!/usr/bin/env bash
# One node's copy of the packed data, readable by its owner only.
#   slurm/stage.sh copy FROM FOLDER NAME   to FOLDER/NAME, comparing every byte of what was written with its source;
#                                          ends with 85 if it is told to stop by USR1, USR2 or TERM
#   slurm/stage.sh keep FOLDER NAME        waits for USR1, USR2 or TERM and for the end of all that read it, then removes it
set -euo pipefail
umask 077

die() { printf 'stage: error: %s: %s\n' "$(hostname)" "$*" >&2 || true; exit 3; }

# Exit code 85: told to stop. Whatever is not whole goes.
copy() {
  local from=$1 to=$2 file
  trap 'told=1' USR1 USR2 TERM
  # shellcheck disable=SC2064
  trap "rm -rf -- ${to@Q} || true" EXIT
  rm -rf -- "$to" || failed "$to: cannot be removed"  # of an earlier start of this job that was killed
  mkdir -p -- "$to" || failed "$to: cannot be made"
  for file in "$from"/index.json "$from"/shard-*.h5; do
    [ -f "$file" ] || failed "$from: no packed data: $file is missing"
    cp -- "$file" "$to/" || failed "$file: cannot be copied to $to"
    cmp -- "$file" "$to/${file##*/}" || failed "$to/${file##*/}: is not what was copied"
    [ -z "$told" ] || exit 85
  done
  trap - EXIT
}

# The signal that tells a step to stop ends its commands, too, perhaps before it is seen here.
failed() {
  pause 1
  [ -z "$told" ] || exit 85
  die "$@"
}

# Reading what never comes: a sleep without a process that a signal would kill.
pause() { read -rt "$1" -u "$never" || true; }

# Ranks have it as a word of their command line; this script has not.
in_use() { grep -qszxF -e "$1" /proc/[0-9]*/cmdline; }

# Slurm starts nothing more in a job that it is ending, so somebody must be there already. The signal that ends the job also
# reaches the ranks, which go on reading until their checkpoint is written. Ranks that have not begun find nothing, which ends
# them: the job was told to stop.
keep() {
  local to=$1
  trap 'told=1' USR1 USR2 TERM
  while [ -z "$told" ] || in_use "$to"; do pause 0.2; done
  rm -rf -- "$to"
}

told=
exec {never}<> <(:)
case ${1:-}:$# in
  copy:4) copy "$2" "${3%/}/$4" ;;
  keep:3) keep "${2%/}/$3" ;;
  *)
    printf 'usage: slurm/stage.sh copy FROM FOLDER NAME | keep FOLDER NAME\n' >&2
    exit 2
    ;;
esac
