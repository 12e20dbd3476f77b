#!/bin/sh
# Ends the tests' Postgres in folder $1, and itself, once no test process is left: each holds $1.users shared while it lives.
exec 8>"$1.users" 9>"$1.reaper"
flock -n 9 || exit 0 # One is enough.

# Unused at several looks in a row: between two tests nobody may be there for a moment.
unused=0
while [ "$unused" -lt 5 ]; do
    flock -n -x 8 && unused=$((unused + 1)) || unused=0
    [ "$unused" -eq 5 ] || { flock -u 8; sleep 1; }
done

# Its end is seen by its file and not by its pid, which stays until somebody has collected it.
file="$1/postgres/data/postmaster.pid"
kill -QUIT "$(head -1 "$file")"
for _ in $(seq 100); do [ -e "$file" ] || break; sleep 0.1; done
rm -rf "$1" "$1.reaper" "$1.starting"
# Before the other lock goes with this process: the reaper of the next server must not take this one for its own.
exec 9>&-
