#!/bin/sh
# The programs of a node that would act on the machine: each tells the simulation instead.
# One file under several names. The simulation reads a line "instance verb minutes" from the FIFO.

say() {
    printf '%s %s %s\n' "${CLOUD_NODE##*/}" "$1" "${2:-0}" >"@power@"
}

# https://www.freedesktop.org/software/systemd/man/latest/shutdown.html
shut_down() {
    verb=off minutes=
    for word; do
        case $word in
        -c)
            say cancel
            exit 0
            ;;
        -r | --reboot) verb=reboot ;;
        -*) ;;
        *)
            # What follows the time is a message to those who are logged in.
            [ -z "$minutes" ] || break
            minutes=$(minutes_of "$word") || exit 1
            ;;
        esac
    done
    say "$verb" "${minutes:-1}"
}

minutes_of() {
    case $1 in
    now) echo 0 ;;
    +*[!0-9]* | +)
        echo "Failed to parse time specification: $1" >&2
        return 1
        ;;
    +*) echo "${1#+}" ;;
    *)
        echo "Failed to parse time specification: $1" >&2
        return 1
        ;;
    esac
}

system_control() {
    for word; do
        case $word in
        poweroff | halt) say off ;;
        reboot) say reboot ;;
        is-system-running) echo running ;;
        -*) continue ;;
        esac
        exit 0
    done
}

# `status --wait` ends when the user data has ended; https://cloudinit.readthedocs.io/en/latest/reference/cli.html
cloud_init() {
    case "$*" in
    *--wait*) while [ ! -e "$CLOUD_FOLDER/booted" ]; do sleep 0.02; done ;;
    esac
    if [ -e "$CLOUD_FOLDER/booted" ]; then echo "status: done"; else echo "status: running"; fi
}

# Remembers what is switched on, for `swapon --show`.
switch_on() {
    case $1 in
    --show*) cat "$CLOUD_FOLDER/swaps" 2>/dev/null ;;
    *)
        [ "$(blkid -p -s TYPE -o value "$1")" = swap ] || {
            echo "swapon: $1: read swap header failed" >&2
            exit 255
        }
        echo "$1" >>"$CLOUD_FOLDER/swaps"
        ;;
    esac
}

# Nodes have one user, who may do all; sudo's options and variables are not needed for that.
as_root() {
    while :; do
        case $1 in
        -u | -g) shift 2 ;;
        --) shift && break ;;
        -*) shift ;;
        *=*)
            export "$1"
            shift
            ;;
        *) break ;;
        esac
    done
    exec "$@"
}

case ${0##*/} in
shutdown) shut_down "$@" ;;
poweroff | halt) say off ;;
reboot) say reboot ;;
systemctl) system_control "$@" ;;
cloud-init) cloud_init "$@" ;;
swapon) switch_on "$@" ;;
sudo) [ $# -eq 0 ] || as_root "$@" ;;
*)
    echo "${0##*/}: not simulated" >&2
    exit 1
    ;;
esac
