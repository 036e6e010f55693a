#!/bin/bash
# Stop the SLURM that tests/slurm/start.sh started in DIR. DIR stays, with its logs.
# usage: tests/slurm/stop.sh DIR
set -uo pipefail

dir=$(cd "$1" && pwd -P) || exit 1
stop() {
    local pid
    pid=$(cat "$1" 2>/dev/null) || return 0
    kill "$pid" 2>/dev/null || return 0
    for ((tenth = 0; tenth < 300; tenth++)); do
        kill -0 "$pid" 2>/dev/null || return 0
        sleep 0.1
    done
    kill -9 "$pid" 2>/dev/null
}

for daemon in pid/slurmd pid/slurmctld pid/slurmdbd database/pid munge/pid; do
    stop "$dir/$daemon"
done
find /sys/fs/cgroup/{memory,freezer}/"slurm_$(hostname -s)" -depth -type d -exec rmdir {} + 2>/dev/null
[ "$(readlink -f /etc/slurm/slurm.conf)" != "$dir/slurm.conf" ] || rm -f /etc/slurm/slurm.conf
