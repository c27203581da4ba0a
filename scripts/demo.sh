#!/bin/sh
# The main job on a local cluster: launch, build and sweep the C++ benchmark, results, report, destroy.
set -eu
cd "$(dirname "$0")/.."
export CLOISTER_STATE="$PWD/.state"
PATH="$PWD/.venv/bin:$PATH"
set -- -c configs/clusters/local-4.yaml -c configs/experiments/ring.yaml

step() {
    printf '\n$ cloister %s\n' "$*"
    cloister "$@"
}

leave_nothing() {
    status=$?
    trap - EXIT
    step destroy "$@" || status=1
    if [ "$status" = 0 ]; then
        printf '\nReport: %s\nNothing is left running.\n' "$PWD/results/ring/report/report.html"
    fi
    exit "$status"
}

step plan "$@"
trap 'leave_nothing "$@"' EXIT
trap 'exit 130' INT TERM
step launch "$@"
step run "$@"
step results "$@"
step report "$@"
