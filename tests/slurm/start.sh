#!/bin/bash
# Start a real SLURM on this one machine: partitions cpu and gpu, two gpus in name, accounting.
# All state lies in DIR, but for /etc/slurm/slurm.conf, which becomes a link into it: a job step
# that Snakemake starts has no SLURM_CONF and looks there. Does nothing where one is running.
# usage: tests/slurm/start.sh DIR        (as root, on Debian or Ubuntu, without systemd)
set -euo pipefail

fail() {
    echo "slurm: $1" >&2
    [ -z "${2:-}" ] || tail -n 20 "$2" >&2
    exit 1
}

[ $# -eq 1 ] || fail "usage: tests/slurm/start.sh DIR"
[ "$(id -u)" -eq 0 ] || fail "must be started by root"
for program in munged mariadbd mariadb-install-db slurmdbd slurmctld slurmd sbatch sacctmgr; do
    PATH=$PATH:/usr/sbin:/sbin command -v "$program" >/dev/null ||
        fail "$program not found; apt-get install slurm-wlm slurmdbd munge mariadb-server"
done
export PATH=$PATH:/usr/sbin:/sbin

mkdir -p "$1"
dir=$(cd "$1" && pwd -P)
node=$(hostname -s)
configuration=/etc/slurm/slurm.conf
database_port=13306

if [ -e "$configuration" ] && [ "$(readlink -f "$configuration")" != "$dir/slurm.conf" ]; then
    fail "$configuration belongs to another SLURM; left as it is"
fi
if [ -e "$configuration" ] && timeout 10 sinfo --noheader >/dev/null 2>&1; then
    echo "slurm: already running in $dir"
    exit 0
fi
getent hosts "$node" >/dev/null || fail "the host name $node does not resolve; add it to /etc/hosts"

# until LIMIT COMMAND...: wait for the command to succeed, at most LIMIT seconds
until_true() {
    local end=$((SECONDS + $1))
    shift
    until timeout 10 "$@" >/dev/null 2>&1; do
        [ $SECONDS -lt $end ] || return 1
        sleep 1
    done
}

# munge: who is who
install -d -m 755 "$dir" "$dir/log" "$dir/spool" "$dir/state" "$dir/pid"
install -d -m 755 -o munge "$dir/munge"
if [ ! -e "$dir/munge/key" ]; then
    head -c 1024 /dev/urandom >"$dir/munge/key"
    chown munge "$dir/munge/key"
    chmod 400 "$dir/munge/key"
fi
setpriv --reuid munge --regid munge --clear-groups munged --force \
    --key-file "$dir/munge/key" --socket "$dir/munge/socket" --pid-file "$dir/munge/pid" \
    --log-file "$dir/munge/log" --seed-file "$dir/munge/seed"

# the database of the accounting
install -d -m 755 -o mysql "$dir/database"
mariadb=(--no-defaults --user=mysql --datadir="$dir/database")
[ -d "$dir/database/mysql" ] ||
    mariadb-install-db "${mariadb[@]}" --auth-root-authentication-method=normal \
        --skip-test-db >"$dir/log/database-install" 2>&1 ||
    fail "the database could not be made" "$dir/log/database-install"
mariadbd "${mariadb[@]}" --bind-address=127.0.0.1 --port=$database_port \
    --socket="$dir/database/socket" --pid-file="$dir/database/pid" \
    --innodb-buffer-pool-size=64M >"$dir/log/database" 2>&1 </dev/null &
sql=(mariadb --no-defaults --socket="$dir/database/socket" --user=root)
until_true 60 "${sql[@]}" -e 'SELECT 1' || fail "the database did not start" "$dir/log/database"
"${sql[@]}" -e "CREATE DATABASE IF NOT EXISTS slurm_acct_db;
    CREATE USER IF NOT EXISTS 'slurm'@'127.0.0.1' IDENTIFIED BY 'slurm';
    CREATE USER IF NOT EXISTS 'slurm'@'localhost' IDENTIFIED BY 'slurm';
    GRANT ALL ON slurm_acct_db.* TO 'slurm'@'127.0.0.1';
    GRANT ALL ON slurm_acct_db.* TO 'slurm'@'localhost';"

cat >"$dir/slurmdbd.conf" <<EOF
AuthType=auth/munge
AuthInfo=socket=$dir/munge/socket
DbdHost=localhost
SlurmUser=root
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort=$database_port
StorageUser=slurm
StoragePass=slurm
StorageLoc=slurm_acct_db
LogFile=$dir/log/slurmdbd
PidFile=$dir/pid/slurmdbd
EOF
chmod 600 "$dir/slurmdbd.conf"

# The kernel ends a job that takes more memory than it asked for, where control groups of the old
# kind can be made here; elsewhere (in most containers) slurmd looks every two seconds.
memory_group=/sys/fs/cgroup/memory/probe-$$
freezer_group=/sys/fs/cgroup/freezer/probe-$$
if mkdir "$memory_group" "$freezer_group" 2>/dev/null; then
    memory_limit="ProctrackType=proctrack/cgroup
TaskPlugin=task/cgroup"
    printf '%s\n' CgroupPlugin=cgroup/v1 ConstrainRAMSpace=yes >"$dir/cgroup.conf"
else
    memory_limit="ProctrackType=proctrack/pgid
TaskPlugin=task/none
JobAcctGatherParams=OverMemoryKill"
fi
rmdir "$memory_group" "$freezer_group" 2>/dev/null || true

# One node with what this machine really has, so that a job which asks for more is refused here.
cores=$(nproc)
memory=$(awk '/MemTotal/ { print int($2 / 1024) }' /proc/meminfo)
cat >"$dir/slurm.conf" <<EOF
ClusterName=probe
SlurmctldHost=$node(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$dir/munge/socket
CredType=cred/munge
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool
SlurmctldLogFile=$dir/log/slurmctld
SlurmdLogFile=$dir/log/slurmd
SlurmctldPidFile=$dir/pid/slurmctld
SlurmdPidFile=$dir/pid/slurmd
MailProg=/bin/true
MpiDefault=none
$memory_limit
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=2,sched_interval=2
GresTypes=gpu
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=localhost
AccountingStoragePass=$dir/munge/socket
AccountingStorageTRES=gres/gpu
AccountingStoreFlags=job_comment
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=2
ReturnToService=2
KillWait=5
MinJobAge=600
NodeName=$node NodeAddr=127.0.0.1 CPUs=$cores RealMemory=$memory Gres=gpu:2 State=UNKNOWN
PartitionName=cpu Nodes=$node Default=YES MaxTime=INFINITE DefMemPerCPU=500 State=UP
PartitionName=gpu Nodes=$node MaxTime=INFINITE DefMemPerCPU=500 State=UP
EOF
# Devices that count as gpus but are none: a job must not be told of a CUDA device.
cat >"$dir/gres.conf" <<EOF
NodeName=$node Name=gpu File=/dev/null,/dev/zero Flags=no_gpu_env
EOF
mkdir -p "$(dirname "$configuration")"
ln -sfn "$dir/slurm.conf" "$configuration"
export SLURM_CONF=$dir/slurm.conf

slurmdbd || fail "slurmdbd did not start" "$dir/log/slurmdbd"
until_true 60 sacctmgr --noheader list cluster || fail "slurmdbd does not answer" "$dir/log/slurmdbd"
sacctmgr --immediate add cluster probe >/dev/null 2>&1 || true # known from an earlier start
slurmctld || fail "slurmctld did not start" "$dir/log/slurmctld"
slurmd || fail "slurmd did not start" "$dir/log/slurmd"
until_true 60 srun --partition=gpu --gres=gpu:1 --immediate=10 true ||
    fail "no job runs: $(sinfo --noheader --Node --long 2>&1)" "$dir/log/slurmctld"
echo "slurm: running in $dir"
