# This host is cut off the network by its own packet filter, all but management over SSH, and let back. VERB: state, cut, hold,
# release, boot. MANAGEMENT and DHCP: addresses and networks, separated by spaces; PORT: that SSH listens on; TIMER_S; for
# hold also BOOT and DEVICES, which `cut` has hooked.
#
# Two tables, made in one transaction: `inet` for what the host itself sends and receives and what it forwards, and `netdev` for what
# never meets that one (raw frames, macvlan and bridged guests). Both are in force for as long as their set `armed` holds something:
# `cut` puts it there with a timeout, so that a host which nobody confirms comes back by itself in the kernel, whoever is
# alive then; `hold` takes the timeout away, and fails where it is over. No rule tracks connections: a management session that
# stood before goes on, whatever becomes of the tables of conntrack.
umask 077
cd / || return 1
boot_dir=$STATE/quarantine
unit_dir=/etc/systemd/system early=recoverd-quarantine.service late=recoverd-quarantine-late.service
rc=/etc/rcS.d/S08recoverd-quarantine
inet='inet recoverd_quarantine' l2='netdev recoverd_quarantine_l2'

able() {
    command -v nft >/dev/null 2>&1 || { echo "nft is not there" >&2; return 1; }
    [ "$(id -u)" = 0 ] || { echo "recoverd is not root here" >&2; return 1; }
}

devices() {
    for device in /sys/class/net/*; do
        [ -e "$device/type" ] && [ "${device##*/}" != lo ] && echo "${device##*/}"
    done
}

of_family() { # of_family 4|6 WORD…: those that are
    family=$1
    shift
    for one in "$@"; do
        case "$family$one" in 4*:*) ;; 6*:* | 4*) echo "$one" ;; esac
    done
}
listed() { # listed BEFORE AFTER WORD…: { BEFORE a AFTER, BEFORE b AFTER }
    before=$1 after=$2 list=
    shift 2
    for one in "$@"; do list="$list${list:+, }$before$one$after"; done
    echo "{ $list }"
}
network_set() { # network_set NAME TYPE WORD…
    name=$1 type=$2
    shift 2
    printf 'set %s {\ntype %s\nflags interval\n' "$name" "$type"
    [ "$#" = 0 ] || printf 'elements = %s\n' "$(listed '' '' "$@")"
    echo '}'
}

# What may pass. PORT alone, from management alone; the neighbours of the same cable, for without them no packet finds its way.
ndp='meta l4proto ipv6-icmp icmpv6 type { nd-router-solicit, nd-router-advert, nd-neighbor-solicit, nd-neighbor-advert } ip6 hoplimit 255 accept'
may_come() {
    cat <<END
ip saddr @mgmt4 tcp dport $PORT accept
ip6 saddr @mgmt6 tcp dport $PORT accept
ip saddr @dhcp4 udp sport 67 udp dport 68 accept
$ndp
END
}
may_go() { # answers of sshd, and no connection that begins here
    cat <<END
ip daddr @mgmt4 tcp sport $PORT tcp flags & (syn | ack) != syn accept
ip6 daddr @mgmt6 tcp sport $PORT tcp flags & (syn | ack) != syn accept
ip daddr @dhcp4 udp sport 68 udp dport 67 accept
$ndp
END
}
sets() {
    network_set mgmt4 ipv4_addr $(of_family 4 $MANAGEMENT)
    network_set mgmt6 ipv6_addr $(of_family 6 $MANAGEMENT)
    network_set dhcp4 ipv4_addr $(of_family 4 $DHCP)
}
inet_table() { # inet_table TIMEOUT
    printf 'table %s\ndelete table %s\ntable %s {\n' "$inet" "$inet" "$inet"
    printf 'set armed {\ntypeof meta nfproto\nflags timeout\nelements = { ipv4%s, ipv6%s }\n}\n' "$1" "$1"
    sets
    printf 'chain q_in {\niifname "lo" accept\n%s\ncounter drop\n}\n' "$(may_come)"
    printf 'chain q_out {\noifname "lo" accept\n%s\ncounter meta l4proto tcp reject with tcp reset\ncounter drop\n}\n' "$(may_go)"
    printf 'chain q_fwd {\ncounter meta l4proto tcp reject with tcp reset\ncounter drop\n}\n'
    for hook in in:input out:output fwd:forward; do
        printf 'chain %s_ {\ntype filter hook %s priority -10; policy accept;\nmeta nfproto @armed goto q_%s\n}\n' \
            "${hook%:*}" "${hook#*:}" "${hook%:*}"
    done
    echo '}'
}
l2_table() { # l2_table TIMEOUT HOOKS DEVICE…
    timeout=$1 hooks=$2
    shift 2
    printf 'table %s\ndelete table %s\n' "$l2" "$l2"
    [ "$#" != 0 ] || return 0
    printf 'table %s {\nset armed {\ntype ifname\nflags timeout\nelements = %s\n}\n' "$l2" "$(listed '"' "\"$timeout" "$@")"
    sets
    printf 'chain q_ingress {\nmeta protocol arp accept\n%s\ncounter drop\n}\n' "$(may_come)"
    printf 'chain q_egress {\nmeta protocol arp accept\n%s\ncounter drop\n}\n' "$(may_go)"
    for hook in $hooks; do
        number=0
        for device in "$@"; do
            number=$((number + 1))
            side=iifname
            [ "$hook" = ingress ] || side=oifname
            printf 'chain %s_%s {\ntype filter hook %s device "%s" priority -500; policy accept;\n%s @armed goto q_%s\n}\n' \
                "$hook" "$number" "$hook" "$device" "$side" "$hook"
        done
    done
    echo '}'
}

# Both tables in one transaction. What the kernel does not have (the egress hook before 5.16) is left out; the facts say so.
apply() { # apply TIMEOUT: `timeout 60s` with a blank before it, or nothing
    names=$(devices)
    for hooks in 'ingress egress' ingress ''; do
        said=$({
            inet_table "$1"
            [ -z "$hooks" ] || l2_table "$1" "$hooks" $names
        } | nft -f - 2>&1) || continue
        [ -z "$hooks" ] || echo "devices=$(echo $names)"
        return 0
    done
    echo "nft refuses the rules: $(printf '%s\n' "$said" | head -n 1)" >&2
    return 1
}

# Both tables in one listing, read by one awk: every program that is started here costs as much as all the rest. `inet` and `l2` are
# held, timer or over, by what their sets hold, and none without the table; which devices are hooked, and which are not; whether every rule
# that was made is there, and no other.
state() {
    command -v nft >/dev/null 2>&1 || { echo no_nft=1; return 0; }
    rules=$(printf 'list table %s\nlist table %s\n' "$inet" "$l2" | nft -f - 2>/dev/null) || rules=$(
        there=$(nft list tables 2>/dev/null)
        for table in "$inet" "$l2"; do
            case "$there" in *"table $table"*) nft list table $table 2>/dev/null ;; esac
        done
    )
    [ -n "$rules" ] || [ "$(id -u)" = 0 ] || { echo no_root=1; return 0; }
    printf '%s\n' "$rules" | awk -v devices="$(devices | tr '\n' ' ')" '
        /^table inet recoverd_quarantine /{ now = "inet" }
        /^table netdev recoverd_quarantine_l2 /{ now = "l2" }
        /^table /{ there[now] = 1 }
        /^\t(set|chain) /{ part = $2 }
        part == "armed" && /elements =/ { held[now] = 1 }
        part == "armed" && /expires/ { timer[now] = 1 }
        /policy accept/ {
            if (match($0, /hook (ingress|egress) device "[^"]*"/)) {
                split(substr($0, RSTART, RLENGTH), word, /[ "]+/)
                hooked[word[2]] = hooked[word[2]] word[4] " "
                sides++
            }
            next
        }
        /accept/ { accepts[now]++ }
        /drop/ { drops[now]++ }
        /goto/ { jumps[now]++ }
        function standing(table) { return !there[table] ? "none" : timer[table] ? "timer" : held[table] ? "held" : "over" }
        END {
            print "inet=" standing("inet")
            print "l2=" standing("l2")
            if (accepts["inet"] + 0 != 10 || drops["inet"] + 0 != 3 || jumps["inet"] + 0 != 3) print "changed_inet=1"
            if (accepts["l2"] + 0 != 10 || drops["l2"] + 0 != 2 || jumps["l2"] + 0 != sides + 0) print "changed_l2=1"
            print "ingress=" hooked["ingress"]
            print "egress=" hooked["egress"]
            number = split(devices, one, " ")
            for (i = 1; i <= number; i++) if (index(" " hooked["ingress"], " " one[i] " ") == 0) bare = bare " " one[i]
            print "bare=" bare
        }'
    [ ! -e "$rc" ] && [ ! -e "$unit_dir/$early" ] && [ ! -e "$boot_dir/boot.sh" ] || echo boot=1
}
armed() { # armed TABLE: none without it
    nft list set $1 armed >/dev/null 2>&1 || echo none
}

cut() {
    able || return $?
    guard 0 # on a full disk the epoch cannot be noted: the host is cut off all the same
    now=$(session)
    [ -n "$MANAGEMENT" ] || MANAGEMENT=${now%% *}
    case "$MANAGEMENT" in *[!:]*%*) MANAGEMENT=${MANAGEMENT%\%*} ;; esac
    case "$MANAGEMENT" in ::ffff:*.*) MANAGEMENT=${MANAGEMENT#::ffff:} ;; esac
    [ -n "$MANAGEMENT" ] || { echo "sshd does not say where this session comes from, and the zone names no management" >&2; return 1; }
    [ -z "${now##* }" ] || PORT=${now##* }
    echo "management=$MANAGEMENT"
    echo "port=$PORT"
    apply " timeout ${TIMER_S}s"
}

# Over a new connection, which proves that management gets through. An element whose time is over cannot be deleted: the
# transaction fails whole then, and nothing is cut off behind the back of those who believe the host is back.
hold() {
    able || return $?
    guard 0
    {
        for verb in delete add; do
            echo "$verb element $inet armed { ipv4, ipv6 }"
            [ -z "$DEVICES" ] || echo "$verb element $l2 armed $(listed '"' '"' $DEVICES)"
        done
    } | nft -f - 2>/dev/null || { echo "the timer is over: this host is back on the network" >&2; return 1; }
    at_boot || { echo "it is cut off, but a reboot would bring it back: $boot_dir or $unit_dir cannot be written" >&2; return 1; }
    state
}

# What cuts this host off again when it boots: before the network comes up, and once more when all devices are there.
at_boot() {
    mkdir -p "$boot_dir" && printf '%s\n' "$BOOT" >"$boot_dir/boot.sh.new" && mv "$boot_dir/boot.sh.new" "$boot_dir/boot.sh" || return 1
    if [ -d /lib/systemd/system ] && [ -d "$unit_dir" ]; then
        unit "$early" sysinit.target 'DefaultDependencies=no
After=nftables.service systemd-modules-load.service
Before=network-pre.target shutdown.target
Wants=network-pre.target
Conflicts=shutdown.target' && unit "$late" multi-user.target 'After=network.target nftables.service' || return 1
    fi
    [ ! -d "${rc%/*}" ] || { printf '#!/bin/sh\n[ -d /run/systemd/system ] || /bin/sh %s\n' "$boot_dir/boot.sh" >"$rc" && chmod 755 "$rc"; }
}
unit() { # unit NAME TARGET LINES
    (
        umask 022
        cat >"$unit_dir/$1.new" <<END
# By recoverd, for as long as this host is isolated; its release takes it away.
[Unit]
Description=This host is cut off the network by recoverd
RequiresMountsFor=$STATE
$3
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh $boot_dir/boot.sh
[Install]
WantedBy=$2
END
    ) && mv "$unit_dir/$1.new" "$unit_dir/$1" && mkdir -p "$unit_dir/$2.wants" && ln -sfn "$unit_dir/$1" "$unit_dir/$2.wants/$1"
}

# What was silent while the host was cut off must not go on where it stopped: connections end first, then the rules go.
release() {
    able || return $?
    guard || return $?
    for one in "$early sysinit.target" "$late multi-user.target"; do
        rm -f "$unit_dir/${one#* }.wants/${one% *}" "$unit_dir/${one% *}"
    done
    rm -f "$rc" "$boot_dir/boot.sh"
    [ "$(armed "$inet")" = none ] || end_connections
    for table in "$inet" "$l2"; do # a table is made before it is deleted, for deleting what is not there is an error
        printf 'table %s\ndelete table %s\n' "$table" "$table" | nft -f - || return 1
    done
}
end_connections() {
    but="not dst 127.0.0.0/8 and not dst [::1]"
    for one in $(nft list set $inet mgmt4 | networks_in) $(nft list set $inet mgmt6 | networks_in); do
        case "$one" in
        *:*/*) one="[${one%/*}]/${one#*/}" ;;
        *:*) one="[$one]" ;;
        esac
        but="$but and not dst $one"
    done
    ss -K -H -t -u -n state connected "$but" >/dev/null 2>&1
    left=$(ss -H -t -n state established "$but" 2>/dev/null | grep -c .)
    [ "$left" = 0 ] || echo "left=$left"
    command -v conntrack >/dev/null 2>&1 || return 0
    mine=$(ip -o addr show | awk '$3 ~ /^inet6?$/ { split($4, a, "/"); print a[1] }')
    mine="$mine $(nft list set $inet mgmt4 | networks_in) $(nft list set $inet mgmt6 | networks_in)"
    conntrack -L 2>/dev/null | tr ' ' '\n' | sed -n 's/^\(src\|dst\)=//p' | sort -u | head -n 10000 | while read -r one; do
        case " $(echo $mine) " in *" $one "*) continue ;; esac
        conntrack -D -s "$one"
        conntrack -D -d "$one"
    done >/dev/null 2>&1
    return 0
}
networks_in() { tr '\n' ' ' | sed -n 's/.*elements = { *\([^}]*\)}.*/\1/p' | tr -d ','; }

case "$VERB" in
state | cut | hold | release) "$VERB" ;;
boot) apply '' ;;
*) echo "no such verb: $VERB" >&2 && return 2 ;;
esac
