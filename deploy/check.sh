#!/bin/sh
# Shows, on the machine that veza-ops is installed on, that nobody but the code server has the password of Veza's
# database, and that nobody but Dagster's own processes can ask the code server for anything. Run it as root while all
# three services run. It changes nothing, and fails if anything is not as it should be.
set -u
code=veza-ops dagster=veza-ops-dagster group=veza-ops
settings=/etc/veza-ops home=/var/lib/veza-ops socket=/run/veza-ops/code.sock
failed=0

as_dagster() { setpriv --reuid "$dagster" --regid "$group" --clear-groups -- "$@"; }
as_anybody() { setpriv --reuid nobody --regid nogroup --clear-groups -- "$@"; }
has_password() { tr '\0' '\n' <"/proc/$1/environ" | grep -q '^VEZA_DATABASE_URL='; }

expect() { # yes or no, what is tried, and how
    wanted=$1 what=$2
    shift 2
    if "$@" >/dev/null 2>&1; then found=yes; else found=no; fi
    if [ "$found" = "$wanted" ]; then mark='ok     '; else mark='NOT OK ' failed=1; fi
    echo "$mark $what: $found"
}

# A try that can't even be made would look like a refusal.
expect yes "the user $dagster can be tried" as_dagster true
expect yes "any other user can be tried" as_anybody true

for file in "$settings/veza.env" "$settings/dagster.env"; do
    expect yes "$file is there" test -s "$file"
    expect no "$dagster can read $file" as_dagster cat "$file"
    expect no "any other user can read $file" as_anybody cat "$file"
done

holders=0
for process in $(pgrep -u "$code"); do
    has_password "$process" 2>/dev/null && holders=$((holders + 1))
    expect no "$dagster can read the environment of the code server's process $process" \
        as_dagster cat "/proc/$process/environ"
    expect no "$dagster can read the memory of process $process" as_dagster sh -c ": </proc/$process/mem"
done
expect yes "the code server runs and has the password" test "$holders" -gt 0

for program in dagster-daemon dagster-webserver; do
    expect yes "$program runs as $dagster" pgrep -u "$dagster" -f "$program"
    expect no "$program runs as the code server's user" pgrep -u "$code" -f "$program"
done
for process in $(pgrep -u "$dagster"); do
    expect no "process $process of $dagster has the password" has_password "$process"
done

expect yes "$dagster can open the code server's socket" as_dagster test -w "$socket"
expect no "any other user can open the code server's socket" as_anybody test -w "$socket"

expect yes "$dagster can read the logs of steps" as_dagster ls "$home/compute_logs"
expect no "any other user can read the logs of steps" as_anybody ls "$home/compute_logs"
expect no "$dagster can look into the storage of the runs" as_dagster ls "$home/storage"
expect no "any other user can look into the storage of the runs" as_anybody ls "$home/storage"
expect no "somebody but their owner could read files of evidence" \
    sh -c "find '$home/storage' -path '*/veza_ops/*' -type f -perm /077 | grep ."
exit "$failed"
