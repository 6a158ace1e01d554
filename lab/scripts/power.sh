#!/bin/sh
# The power switch of the lab's hosts, in the manner of ClusterLabs fence agents: options as `key=value` lines on
# stdin (action=off|on|reboot|status, plug=HOST). Exit 0: done, or on. Exit 2: off (status only). Exit 1: failed.
# It stands in the lab's state directory and reads what it needs from there. No interpreter to start: off takes ms.
set -eu
PATH=$PATH:/usr/sbin:/sbin
state=$(cd "${0%/*}" && pwd)
export RECOVERD_LAB_STATE="$state"
action=reboot plug=
while read -r line || [ -n "$line" ]; do
    case $line in
    action=*) action=${line#action=} ;;
    plug=* | port=*) plug=${line#*=} ;;
    esac
done
dir=$state/hosts/$plug
case $plug in "" | *[!a-z0-9-]*) echo "no such plug: $plug" >&2 && exit 1 ;; esac
[ -f "$dir/power" ] || { echo "no such plug: $plug" >&2 && exit 1; }
. "$dir/power" # device, namespace, base, init

# The first process lives exactly if the machine has a process with its pid AND its start time. A zombie is dead: the
# kernel makes it one only after the last process of its pid namespace is gone.
alive() {
    [ -f "$dir/init" ] || return 1
    read -r pid born <"$dir/init" || return 1
    { read -r stat <"/proc/$pid/stat"; } 2>/dev/null || return 1
    set -- ${stat##*) }
    [ "${20}" = "$born" ] && [ "$1" != Z ] && [ "$1" != X ]
}

off() {
    # The cable first: a host that loses power says no last word, not even the FIN of its connections.
    ip link set dev "$device" down 2>/dev/null || [ ! -e "/sys/class/net/$device" ]
    tries=0
    while alive; do
        kill -9 "$pid" 2>/dev/null || true
        tries=$((tries + 1))
        [ $tries -le 500 ] || { echo "$plug is still on after 5 s" >&2 && exit 1; }
        alive || break
        sleep 0.01
    done
}

on() {
    alive && return
    rm -f "$dir/init"
    ip link delete dev "$device" 2>/dev/null || [ ! -e "/sys/class/net/$device" ]
    ip netns delete "$namespace" 2>/dev/null || [ ! -e "/run/netns/$namespace" ]
    ip netns add "$namespace"
    ip -batch "$dir/cable"
    ip -netns "$namespace" -batch "$dir/interface"
    if [ -f "$dir/cut.nft" ]; then nft -f "$dir/cut.nft"; fi
    if [ -f "$dir/slow.tc" ]; then sh "$dir/slow.tc"; fi
    setsid --fork nsenter --net="/run/netns/$namespace" \
        unshare --mount --pid --ipc --uts --fork --propagation private \
        sh "$init" "$state" "$base" "$plug" </dev/null >>"$dir/console.log" 2>&1
    tries=0
    until alive; do
        tries=$((tries + 1))
        [ $tries -le 1000 ] || { echo "$plug does not start; its console: $(tail -n 5 "$dir/console.log")" >&2 && exit 1; }
        sleep 0.01
    done
}

case $action in
off) off ;;
on) on ;;
reboot) off && on ;;
status | monitor) alive || exit 2 ;;
*) echo "no such action: $action" >&2 && exit 1 ;;
esac
