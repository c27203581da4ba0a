#!/bin/sh
# A whole life on EC2, on the simulated one of tests/cloud, whose instances are sshds on this machine: plan,
# launch, ls, extend, the C++ benchmark's sweep, its results, destroy, and what would still cost money.
set -eu
cd "$(dirname "$0")/.."
root=$PWD
work=$root/.state/demo-ec2
rm -rf "$work"
mkdir -p "$work"
PATH="$root/.venv/bin:$PATH"

cat >"$work/cluster.yaml" <<EOF
cluster:
  name: demo
  provider: ec2
  roles:
    manager: {count: 1, machine: t3.micro}
    master: {same_as: manager}
    workers: {count: 3, machine: [c7i.large, m7i.large], market: [spot, on-demand]}
  ec2: {region: us-east-1, image: ubuntu-24.04, lease: 2h, budget: {dollars_max: 5}}
  ssh: {user: $(id -un), port: 2222}   # how the simulated instances are reached
EOF
# Short of capacity where it is looked for first; machines boot in a few seconds, one after the other.
cat >"$work/cloud.json" <<EOF
{"boot_s": [1.0, 1.5, 2.0, 2.5], "ssh_after_s": [0.5, 1.0], "regions": ["us-east-1", "eu-west-1"],
 "capacity": {"us-east-1a/c7i.large/spot": 1, "*/c7i.large/spot": 0}}
EOF

echo 'results: {folder: results}' >"$work/results.yaml"

# It ends with its standard input, whatever happens to this script.
mkfifo "$work/held"
python tests/cloud/server.py --folder "$work/cloud" --settings "$work/cloud.json" --while-stdin-open \
    <"$work/held" >"$work/cloud.log" 2>&1 &
cloud=$!
exec 3>"$work/held"
tries=0
until [ -f "$work/cloud/port" ]; do
    tries=$((tries + 1))
    if [ "$tries" -gt 300 ] || ! kill -0 "$cloud" 2>/dev/null; then
        echo "the simulated EC2 did not start:" >&2
        tail -n 20 "$work/cloud.log" >&2
        exit 1
    fi
    sleep 0.1
done
endpoint=http://127.0.0.1:$(cat "$work/cloud/port")

# Nothing of this machine's own AWS configuration is used.
for name in $(env | sed -n 's/^\(AWS_[A-Z_]*\)=.*/\1/p'); do unset "$name"; done
export AWS_ENDPOINT_URL="$endpoint" AWS_ACCESS_KEY_ID=AKIASIMULATED0000000 AWS_SECRET_ACCESS_KEY=simulated
export AWS_DEFAULT_REGION=us-east-1 AWS_EC2_METADATA_DISABLED=true
export AWS_CONFIG_FILE=/dev/null AWS_SHARED_CREDENTIALS_FILE=/dev/null
export CLOISTER_ADDRESS_URL="$endpoint/_cloud/address" CLOISTER_STATE="$work/state"
export NO_PROXY=127.0.0.1 no_proxy=127.0.0.1

ask() { # what the simulation itself knows
    python -c 'import sys, urllib.request as u; print(u.urlopen(u.Request(sys.argv[1], b"{}")).read().decode())' \
        "$endpoint/_cloud/$1"
}

step() {
    printf '\n$ cloister %s\n' "$*"
    cloister "$@"
}

leave_nothing() {
    status=$?
    trap - EXIT
    step destroy "$@" || status=1
    printf '\nThe cloud has billed $%.4f; what would still cost money: %s\n' "$(ask dollars)" "$(ask billable)"
    [ "$(ask billable)" = '[]' ] || status=1
    exec 3>&-
    wait "$cloud" || true
    if [ "$status" = 0 ]; then
        printf 'Report: %s\nNothing is left running.\n' "$work/results/report/report.html"
    fi
    exit "$status"
}

set -- -c "$work/cluster.yaml" -c configs/experiments/ring.yaml -c "$work/results.yaml"
step plan "$@"
trap 'leave_nothing "$@"' EXIT
trap 'exit 130' INT TERM
step launch "$@" --servers "$work/servers"
step ls "$@"
step extend "$@" 3h
step run "$@"
step results "$@"
step report "$@"
