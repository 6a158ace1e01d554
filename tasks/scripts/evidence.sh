# What a compromised host says of itself, the most volatile first (RFC 3227), as one packed archive on standard output. It changes
# nothing on the host, and writes to memory alone (below /dev/shm, gone at the end). Every look has a limit in time and in bytes;
# one that has none of what it asks, or comes to no end, says so in a file of its own. Secrets are left out: no environment, no
# private key, no hash of a password; words of command lines that look like a secret are masked. LIMIT_S a look, MOST_KB a file.
umask 077
cd / || return 1
for base in /dev/shm /run /tmp; do
    place=$(mktemp -d "$base/recoverd-evidence.XXXXXX" 2>/dev/null) && break
done
[ -n "$place" ] || { echo "there is no room in memory for the evidence (/dev/shm)" >&2; return 1; }
trap 'rm -rf "$place"' EXIT
trap 'exit 1' HUP INT TERM
number=0
look() { # look NAME COMMAND…: its output, in a file that tells the order
    number=$((number + 1))
    file=$place/$(printf '%02d' "$number")-$1
    shift
    began=$(date +%s)
    {
        timeout -k 1 "$LIMIT_S" "$@" 2>&1
        echo "$?" >"$place/.code"
    } | head -c "$((MOST_KB * 1024))" | masked >"$file"
    read -r code <"$place/.code" 2>/dev/null || code=cut
    echo "${file##*/} exit=$code seconds=$(($(date +%s) - began)) $*" | head -c 300 | tr '\n' ' ' >>"$place/looks"
    echo >>"$place/looks"
}
shell() { # shell NAME SCRIPT
    name=$1
    look "$name" sh -c "$2"
}
recent='find %s -xdev \( -type f -o -type l \) \( -mtime -7 -o -ctime -7 \) -printf "%%T+ %%C+ %%m %%u:%%g %%s %%p\n" 2>/dev/null | sort -r | head -n 2000'

shell time 'date -u +%Y-%m-%dT%H:%M:%S.%NZ; cat /proc/uptime; uname -a; cat /etc/os-release 2>/dev/null; id'
look processes ps -eww -o pid,ppid,user,lstart,stat,nlwp,rss,etimes,cputimes,args
shell executables 'for one in /proc/[0-9]*; do printf "%s %s cwd=%s\n" "${one#/proc/}" "$(readlink "$one/exe" 2>/dev/null || echo -)" "$(readlink "$one/cwd" 2>/dev/null)"; done'
shell deleted-or-memory 'ls -l /proc/[0-9]*/exe /proc/[0-9]*/fd 2>/dev/null | grep -e "(deleted)" -e memfd: | head -n 500; grep -l -e memfd: /proc/[0-9]*/maps 2>/dev/null | head -n 100'
shell executables-sha256 'for one in /proc/[0-9]*/exe; do readlink "$one"; done 2>/dev/null | sort -u | head -n 300 | while read -r path; do [ ! -f "$path" ] || sha256sum "$path"; done'
look sockets ss -tunapeiHO
look sockets-listening ss -tulnpe
look sockets-raw-and-packet sh -c 'ss -wnap; ss -0np'
look sockets-unix ss -xnpH
shell open-files 'ls -l /proc/[0-9]*/fd 2>/dev/null | grep -v -e "socket:" -e "pipe:" -e "anon_inode" -e /dev/null | head -n 3000'
look neighbours ip neigh
look addresses ip -d addr
shell routes 'ip rule; ip -4 route show table all; ip -6 route show table all'
look packet-filter nft -a list ruleset
shell packet-filter-old 'iptables-save; ip6tables-save'
shell connection-tracking 'conntrack -L 2>/dev/null | head -n 5000'
shell modules 'cat /proc/modules; cat /proc/sys/kernel/tainted'
shell mounts 'cat /proc/self/mountinfo; df -P -k -l'
shell logged-in 'who -a; w -h'
shell last-logins 'last -Faw -n 200; lastb -Faw -n 200; lastlog 2>/dev/null | grep -v Never'
shell containers 'for one in docker podman nerdctl; do ! command -v $one >/dev/null || $one ps -a --no-trunc; done; ! command -v crictl >/dev/null || crictl ps -a'
shell namespaces 'lsns 2>/dev/null; ip netns list'
shell accounts 'cat /etc/passwd; echo; cat /etc/group'
shell accounts-state 'awk -F: "{ print \$1, (\$2 ~ /^[!*]/ ? \"locked\" : \$2 == \"\" ? \"EMPTY\" : \"password\"), \$3, \$8 }" /etc/shadow'
shell sudoers 'grep -rhv -e "^#" -e "^$" /etc/sudoers /etc/sudoers.d 2>/dev/null'
shell keys 'cut -d: -f6 /etc/passwd | sort -u | while read -r home; do for file in "$home"/.ssh/authorized_keys "$home"/.ssh/authorized_keys2; do [ ! -f "$file" ] || { stat -c "%y %U %a %n" "$file"; ssh-keygen -lf "$file"; grep -c . "$file"; }; done; done'
shell cron 'cat /etc/crontab; for file in /etc/cron.d/* /etc/cron.hourly/* /etc/cron.daily/* /var/spool/cron/crontabs/* /var/spool/cron/*; do [ ! -f "$file" ] || { echo "== $file"; stat -c "%y %U %a" "$file"; head -n 200 "$file"; }; done; atq 2>/dev/null'
shell services 'systemctl list-units --all --no-pager --plain; systemctl list-timers --all --no-pager; systemctl list-unit-files --no-pager' 
shell units-own 'find /etc/systemd /usr/local/lib/systemd /run/systemd/system /root/.config/systemd /home/*/.config/systemd -type f -printf "%T+ %u %m %s %p\n" 2>/dev/null | sort -r | head -n 500'
shell preload 'cat /etc/ld.so.preload 2>/dev/null; env | grep -c LD_PRELOAD; find /etc/profile.d /etc/bash.bashrc /root/.bashrc /root/.profile /home/*/.bashrc -type f -printf "%T+ %u %m %s %p\n" 2>/dev/null'
shell set-uid 'find / -xdev \( -perm -4000 -o -perm -2000 \) -type f -printf "%T+ %m %u:%g %s %p\n" 2>/dev/null | head -n 1000'
shell recent-memory-and-temporary "$(printf "$recent" '/dev/shm /tmp /var/tmp /run')"
shell recent-configuration "$(printf "$recent" '/etc')"
shell recent-programs "$(printf "$recent" '/usr/local /opt /usr/bin /usr/sbin /usr/lib/systemd /root /home /srv /var/www')"
shell log-logins 'journalctl -q --no-pager -n 3000 -t sshd -t sudo -t su -t systemd-logind 2>/dev/null || tail -n 3000 /var/log/auth.log /var/log/secure 2>/dev/null'
shell log-system 'journalctl -q --no-pager -n 3000 -p notice 2>/dev/null || tail -n 3000 /var/log/syslog /var/log/messages 2>/dev/null'
shell log-kernel 'dmesg -T 2>/dev/null | tail -n 1000'
shell log-audit 'tail -n 3000 /var/log/audit/audit.log'
rm -f "$place/.code"
cd "$place" && sha256sum -- * >SHA256SUMS && tar -czf - -- * || return 1
