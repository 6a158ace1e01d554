# Traffic with some networks is blocked on this host, or let through again. VERB: look, state, block, release. RUN, NETWORKS4 and
# NETWORKS6 (separated by spaces), FOR_S: for so many seconds, or empty: until released.
#
# One file a run below $blocks says what it blocks and until when. The table is made anew from all of these files in one
# transaction, so that the blocks of several runs stand beside each other, each with a set of its own; a block that is
# timed ends in the kernel, whoever is alive then. At boot the same is done, before the network comes up.
umask 077
cd / || return 1
blocks=$STATE/contain/blocks
set_name() { printf 'run_%s' "$1" | tr -c 'A-Za-z0-9_' _; }
of_file() { sed -n "s/^$2=//p" "$blocks/$1" 2>/dev/null | head -n 1; }

look() {
    command -v nft >/dev/null 2>&1 || echo no_nft=1
    [ "$(id -u)" = 0 ] || echo no_root=1
    ip -o addr show 2>/dev/null | awk '$3 ~ /^inet6?$/ { split($4, a, "/"); print "own:" a[1] "=1" }'
    came=$(session)
    came=${came%% *}
    [ -z "$came" ] || echo "from=$came"
}

state() {
    command -v nft >/dev/null 2>&1 || return 0
    [ -e "$blocks/$RUN" ] || return 0
    echo kept=1
    ends=$(of_file "$RUN" until)
    echo "until=$ends"
    if [ -n "$ends" ] && [ "$ends" -le "$(date +%s)" ]; then echo over=1; return 0; fi
    name=$(set_name "$RUN")
    for family in 4 6; do
        for network in $(of_file "$RUN" "networks$family"); do
            case "$family$network" in 4*/32 | 6*/128) network=${network%/*} ;; esac # nft finds these by the address alone
            nft get element inet recoverd_contain "${name}_$family" "{ $network }" >/dev/null 2>&1 || return 0
        done
        for chain in in out fwd_; do
            nft list chain inet recoverd_contain "$chain" 2>/dev/null | grep -q "@${name}_$family .*drop" || return 0
        done
    done
    echo "networks=$(of_file "$RUN" networks4) $(of_file "$RUN" networks6)"
    echo stands=1
}

block() {
    guard || return $?
    command -v nft >/dev/null 2>&1 || { echo "nft is not there" >&2; return 1; }
    mkdir -p "$blocks" || return 1
    if [ ! -e "$blocks/$RUN" ]; then
        {
            echo "networks4=$NETWORKS4"
            echo "networks6=$NETWORKS6"
            echo "until=${FOR_S:+$(($(date +%s) + FOR_S))}"
        } >"$blocks/$RUN.new" && sync "$blocks/$RUN.new" && mv "$blocks/$RUN.new" "$blocks/$RUN" || return 1
    fi
    make_table || return 1
    at_boot || return 1
    for network in $NETWORKS4 $NETWORKS6; do
        ss -K dst "$network" >/dev/null 2>&1 # it fails where the kernel cannot; the table cuts those flows all the same
        ! command -v conntrack >/dev/null 2>&1 || { conntrack -D -s "$network"; conntrack -D -d "$network"; } >/dev/null 2>&1
    done
    return 0
}

release() {
    guard || return $?
    [ -e "$blocks/$RUN" ] || return 0
    for network in $(of_file "$RUN" networks4) $(of_file "$RUN" networks6); do
        ss -K dst "$network" >/dev/null 2>&1 # what was silent until now must not go on
    done
    mv "$blocks/$RUN" "$blocks/$RUN.over" && make_table || return 1
    at_boot || return 1
    rm -f "$blocks/$RUN.over"
}

make_table() { table | nft -f - || { echo "nft refuses the table recoverd_contain" >&2; return 1; }; }
runs() { find "$blocks" -maxdepth 1 -type f ! -name '*.new' ! -name '*.over' ! -name '.*' -printf '%f\n' 2>/dev/null | sort; }

# The whole table for nft, of all runs whose time is not over. Also at boot, from a copy of this script.
table() {
    now=$(date +%s)
    echo 'table inet recoverd_contain'
    echo 'delete table inet recoverd_contain'
    list=
    for run in $(runs); do
        ends=$(of_file "$run" until)
        if [ -z "$ends" ] || [ "$ends" -gt "$now" ]; then list="$list $run"; fi
    done
    [ -n "$list" ] || return 0
    echo 'table inet recoverd_contain {'
    for run in $list; do
        ends=$(of_file "$run" until)
        elements "$run" 4 ipv4_addr
        elements "$run" 6 ipv6_addr
    done
    chain in input "saddr"
    chain out output "daddr"
    chain fwd_ forward "saddr daddr"
    echo '}'
}

elements() {
    more=
    [ -z "$ends" ] || more=" timeout $((ends - now))s"
    printf 'set %s_%s {\ntype %s\nflags interval%s\n' "$(set_name "$1")" "$2" "$3" "${ends:+, timeout}"
    members=
    for network in $(of_file "$1" "networks$2"); do members="$members${members:+, }$network$more"; done
    [ -z "$members" ] || printf 'elements = { %s }\n' "$members"
    echo '}'
}

chain() {
    printf 'chain %s {\ntype filter hook %s priority -20; policy accept;\n' "$1" "$2"
    for run in $list; do
        for side in $3; do
            printf 'ip %s @%s_4 counter drop\nip6 %s @%s_6 counter drop\n' \
                "$side" "$(set_name "$run")" "$side" "$(set_name "$run")"
        done
    done
    echo '}'
}

# What makes the table anew when the host boots, for as long as any run blocks something.
at_boot() {
    unit=/etc/systemd/system/recoverd-contain.service rc=/etc/rcS.d/S08recoverd-contain
    copy=$STATE/contain/boot.sh
    if [ -z "$(runs)" ]; then
        rm -f "/etc/systemd/system/sysinit.target.wants/${unit##*/}" "$unit" "$rc" "$copy"
        return 0
    fi
    printf '%s\n' "$BOOT" >"$copy.new" && mv "$copy.new" "$copy" || return 1
    if [ -d /lib/systemd/system ] && [ -d /etc/systemd/system ]; then
        mkdir -p /etc/systemd/system/sysinit.target.wants && (umask 022; unit_text >"$unit.new") && mv "$unit.new" "$unit" \
            && ln -sfn "$unit" "/etc/systemd/system/sysinit.target.wants/${unit##*/}" || return 1
    fi
    [ ! -d /etc/rcS.d ] || { printf '#!/bin/sh\n[ -d /run/systemd/system ] || /bin/sh %s\n' "$copy" >"$rc" && chmod 755 "$rc"; }
}

unit_text() {
    cat <<END
# By recoverd, for as long as a run contains something on this host; it goes with the last of them.
[Unit]
Description=Networks that recoverd blocks on this host
DefaultDependencies=no
RequiresMountsFor=$STATE
After=nftables.service systemd-modules-load.service
Before=network-pre.target shutdown.target
Wants=network-pre.target
Conflicts=shutdown.target
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh $copy
[Install]
WantedBy=sysinit.target
END
}

case "$VERB" in
look | state | block | release) "$VERB" ;;
boot) make_table ;;
*) echo "no such verb: $VERB" >&2 && return 2 ;;
esac
