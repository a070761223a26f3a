#!/bin/sh
# Bounds the audit trail in a folder: sh rotate.sh FOLDER [BYTES] [KEPT] [SECONDS]
# A file `*.jsonl` of BYTES is moved aside with the time in its name, and Ephemint opens a new one within a second; lines
# until then go to the moved file. KEPT moved files stay: 16 files of 64 MiB, about 1.5 million mints for each replica.
set -eu

folder=$1
bytes=${2:-67108864}
kept=${3:-15}
seconds=${4:-10}

rotate () {
  [ "$(wc -c < "$1")" -ge "$bytes" ] || return 0
  moved=$1.$(date -u +%Y%m%dT%H%M%SZ)
  [ ! -e "$moved" ] || return 0
  mv "$1" "$moved"
  # Sorted by time, the oldest last. Other files in the folder are not counted, and stay.
  ls -1r "$1".[0-9]*T[0-9]*Z* | tail -n "+$((kept + 1))" | while read -r old; do rm -f "$old"; done
}

while true; do
  for file in "$folder"/*.jsonl; do
    [ -f "$file" ] && rotate "$file"
  done
  sleep "$seconds"
done
