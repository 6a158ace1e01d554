# What looks wrong on a host, as lines of words with tabs between them; it changes nothing. PACKAGES: which ones are held against the
# package database: running (those that own what runs, and what every attacker would replace), all, no. LIMIT_S for each look.
cd / || return 1
tab=$(printf '\t')
say() { printf '%s' "$1"; shift; for word in "$@"; do printf '\t%s' "$word"; done; printf '\n'; }
within() { timeout -k 1 "$LIMIT_S" "$@"; }
talk() { within ss -tnpiHO state established 2>/dev/null | sed -n 's/^\(.*\)$/'"$1$tab"'\1/p' | head -n 2000; }
talk talk1
first=$(date +%s%N)
[ "$(id -u)" = 0 ] || say no root
within ps -eww -o pid=,ppid=,user:32=,etimes=,args= | while read -r pid parent user age args; do
    [ "$pid" != $$ ] && exe=$(readlink "/proc/$pid/exe" 2>/dev/null) || continue
    case "$exe" in /memfd:* | *' (deleted)') memory=$(sed -n 's/^Name:[[:space:]]*//p' "/proc/$pid/status" 2>/dev/null) ;; *) memory= ;; esac
    say process "$pid" "$parent" "$user" "$age" "$exe" "$memory" "$(printf '%s' "$args" | tr '\t' ' ' | masked | head -c 300)"
done | head -n 5000
within ss -tulnpH 2>/dev/null | sed "s/^/listen$tab/" | head -n 1000
awk -F: '$3 == 0 { print "uid0\t" $1 } ' /etc/passwd
awk -F: '$2 == "" { print "empty\t" $1 }' /etc/shadow 2>/dev/null
awk -F: '{ print "account\t" $1 "\t" $3 "\t" $7 }' /etc/passwd
cut -d: -f1,6 /etc/passwd | while IFS=: read -r name home; do
    for file in "$home/.ssh/authorized_keys" "$home/.ssh/authorized_keys2"; do
        [ -f "$file" ] && within ssh-keygen -lf "$file" 2>/dev/null | while read -r _ print rest; do say key "$name" "$print" "$file"; done
    done
done | head -n 2000
within find / -xdev \( -perm -4000 -o -perm -2000 \) -type f 2>/dev/null | sed "s/^/suid$tab/" | head -n 1000
for file in /etc/crontab /etc/cron.d/* /etc/cron.hourly/* /etc/cron.daily/* /var/spool/cron/crontabs/* /var/spool/cron/*; do
    [ -f "$file" ] && say cron "$file" "$(sha256sum <"$file" | cut -c1-64)"
done
within find /etc/systemd/system /usr/local/lib/systemd /run/systemd/system -type f 2>/dev/null | sort | head -n 1000 | while read -r file; do
    say unit "$file" "$(sha256sum <"$file" | cut -c1-64)"
done
[ ! -s /etc/ld.so.preload ] || say preload "$(tr '\n' ' ' </etc/ld.so.preload | head -c 500)"

# Who owns what runs: by dpkg, batched; a path below /usr may be known without it. What nobody owns came from somewhere else.
programs=$(for one in /proc/[0-9]*/exe; do readlink "$one" 2>/dev/null; done | sort -u | grep -v -e '(deleted)$' -e '^/memfd:' | head -n 500)
if command -v dpkg >/dev/null 2>&1; then
    paths=$(printf '%s\n' $programs; printf '%s\n' $programs | sed -n 's#^/usr##p')
    owned=$(printf '%s\n' "$paths" | grep . | within xargs -d '\n' dpkg -S 2>/dev/null)
    for one in $programs; do
        printf '%s\n' "$owned" | grep -q -e ": $one\$" -e ": ${one#/usr}\$" || say unowned "$one" "$(sha256sum <"$one" 2>/dev/null | cut -c1-64)"
    done
    own=$(printf '%s\n' "$owned" | cut -d: -f1 | tr ',' '\n' | tr -d ' ' | sort -u)
    more='openssh-server openssh-client coreutils procps iproute2 login passwd sudo libpam-modules libc6 bash dash systemd util-linux cron'
    case "$PACKAGES" in
    all) timeout -k 1 600 dpkg --verify 2>/dev/null | sed "s/^/changed$tab/" | head -n 2000 ;;
    running) for one in $(printf '%s\n' $own $more | sort -u); do within dpkg --verify "$one" 2>/dev/null; done | sort -u | sed "s/^/changed$tab/" | head -n 2000 ;;
    esac
elif command -v rpm >/dev/null 2>&1; then
    for one in $programs; do within rpm -qf "$one" >/dev/null 2>&1 || say unowned "$one" "$(sha256sum <"$one" 2>/dev/null | cut -c1-64)"; done
    case "$PACKAGES" in
    all) timeout -k 1 600 rpm -Va 2>/dev/null | sed "s/^/changed$tab/" | head -n 2000 ;;
    running) for one in $programs; do within rpm -Vf "$one" 2>/dev/null; done | sort -u | sed "s/^/changed$tab/" | head -n 2000 ;;
    esac
else
    say no packages
fi
for one in $programs; do say program "$one" "$(sha256sum <"$one" 2>/dev/null | cut -c1-64)"; done
while [ "$(($(date +%s%N) - first))" -lt 2000000000 ]; do sleep 0.1; done # at least so long between the two samples
say seconds "$((($(date +%s%N) - first) / 1000000))"
talk talk2
say through 1
return 0
