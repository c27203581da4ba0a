#!/bin/sh
# Installs what is missing: system packages (named as arguments), then a virtual environment in .venv
# with exactly the packages of requirements.lock. Changes nothing else outside this checkout but the
# caches of what installs.
set -eu
cd "$(dirname "$0")/.."

provides() { # what shows that a Debian package is there
    case $1 in
        openssh-server) [ -x /usr/sbin/sshd ] || command -v sshd ;;
        openssh-client) command -v ssh ;;
        redis-server) command -v redis-server ;;
        redis-tools) command -v redis-benchmark ;;
        procps) command -v pgrep ;;
        python3-venv) find_python && "$python" -c 'import ensurepip, venv' ;;
        *) command -v "$1" ;;
    esac >/dev/null 2>&1
}

find_python() { # the newest Python that will do
    for python in python3 python3.14 python3.13 python3.12 python3.11; do
        if "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            return 0
        fi
    done
    return 1
}

missing=
for package in "$@" python3-venv; do
    provides "$package" || missing="$missing $package"
done
if [ -n "$missing" ]; then
    if [ "$(id -u)" = 0 ]; then
        as_root=
    elif command -v sudo >/dev/null 2>&1 && { sudo -n true 2>/dev/null || [ -t 0 ]; }; then
        as_root=sudo
    else
        echo "These system packages are missing:$missing" >&2
        echo "and this user may not install them. Ask someone who may to run:" >&2
        echo "    apt-get install$missing" >&2
        exit 1
    fi
    if ! command -v apt-get >/dev/null 2>&1; then
        echo "These programs are missing; install what your system calls:$missing" >&2
        exit 1
    fi
    echo "installing:$missing" >&2
    $as_root apt-get update -qq >&2
    # shellcheck disable=SC2086
    DEBIAN_FRONTEND=noninteractive $as_root apt-get install -y -qq --no-install-recommends $missing >&2
fi

if ! find_python; then
    echo "cloister needs Python 3.11 or later; the newest here is $(python3 --version 2>&1)" >&2
    exit 1
fi

lock=$(cat requirements.lock pyproject.toml | sha256sum)
if [ "$(cat .venv/lock 2>/dev/null || true)" != "$lock" ]; then
    echo "preparing .venv" >&2
    rm -rf .venv
    "$python" -m venv .venv
    pip="-m pip install -q --disable-pip-version-check"
    # uv takes seconds where pip takes minutes; of pip's own settings it is told the index.
    sed -n '/^uv==/,/^[^ ]/{/^uv==/p;/^ /p}' requirements.lock >.venv/uv.lock
    index=${PIP_INDEX_URL:-$(.venv/bin/python -m pip config get global.index-url 2>/dev/null || true)}
    # shellcheck disable=SC2086
    {
        .venv/bin/python $pip --require-hashes -r .venv/uv.lock &&
            VIRTUAL_ENV="$PWD/.venv" UV_DEFAULT_INDEX="${index:-https://pypi.org/simple}" \
                .venv/bin/uv pip install -q --require-hashes -r requirements.lock ||
            .venv/bin/python $pip --require-hashes -r requirements.lock
        .venv/bin/python $pip --no-deps --no-build-isolation -e .
    } >&2
    echo "$lock" >.venv/lock
fi
