# The first process of a lab host: makes the host's private view of the machine, then keeps its sshd alive.
# Arguments: the lab's state directory, the base of all labs, the host's name. Runs as pid 1 of fresh mount, pid, ipc
# and uts namespaces; when it is killed, the kernel kills everything else on the host: that is the power switch.
set -eu
state=$1 base=$2 host=$3
dir=$state/hosts/$host

# /proc is still the machine's here, so this is our pid and start time as the machine sees them. The pair names this
# one process for ever: a recycled pid has another start time.
read -r line </proc/self/stat
pid=${line%% *}
set -- ${line##*) }
boot="$pid ${20}"

hostname "$host"
mount --rbind "$dir" /mnt

# Copies of other hosts' mounts and namespaces would keep their disks busy and their networks alive after their end.
others() {
    for point in $(cut -d' ' -f5 /proc/self/mountinfo); do
        case $point in "$base"/* | /run/netns/*) echo "$point" ;; esac
    done
}
umount -l $(others) 2>/dev/null || true # one that its owner removed in this moment, or that went with another, is gone here too
[ -z "$(others)" ] || { echo "still mounted here: $(others)" >&2 && exit 1; }

mount --bind /mnt/etc /etc
mount --bind /mnt/recoverd /var/lib/recoverd
mount --rbind /mnt/srv /srv
mount --bind /mnt/postgresql /var/lib/postgresql
if [ -f /mnt/programs ]; then
    read -r programs </mnt/programs
    mount -o bind,ro "$programs" /var/lib/postgresql/programs
fi
if [ -f /mnt/weed ]; then
    read -r weed </mnt/weed
    mount -o bind,ro "$weed" /etc/seaweedfs/weed
fi
mount -t tmpfs -o size=64k,mode=700 lab "$base"
mount --bind /mnt/root /root
mount -t tmpfs -o size=256m,mode=1777 tmp /tmp
mount -t tmpfs -o size=256m,mode=1777 shm /dev/shm
mount -t tmpfs -o size=64m,mode=755 run /run
if [ -f /etc/recoverd-lab/group ]; then # systemd gets a control group of its own, while the machine's are to be seen
    read -r group </etc/recoverd-lab/group
    group=$(awk '/ - cgroup2 / { print $5; exit }' /proc/self/mountinfo)/$group
    mkdir -p "$group"
    echo 0 >"$group/cgroup.procs"
fi
mount -t proc proc /proc
mount -t sysfs -o ro sys /sys

mkdir -p /run/sshd /run/lock /run/postgresql
chmod 755 /run/sshd
if id postgres >/dev/null 2>&1; then chown postgres: /run/postgresql; fi

echo "$boot" >/mnt/init.new
mv /mnt/init.new /mnt/init
umount -l /mnt

[ ! -f /etc/recoverd-lab/systemd.sh ] || exec sh /etc/recoverd-lab/systemd.sh "$state"
# Of the scripts of a boot only what recoverd put there: the others in this copy of /etc are the machine's own.
for script in /etc/rcS.d/S??recoverd-*; do
    [ ! -x "$script" ] || "$script" start || echo "$script failed" >&2
done
if [ -f /etc/recoverd-lab/supervise.sh ]; then
    setpriv --reuid=postgres --regid=postgres --init-groups sh /etc/recoverd-lab/supervise.sh &
fi
if [ -f /etc/seaweedfs/serve.sh ]; then sh /etc/seaweedfs/serve.sh & fi
while :; do
    /usr/sbin/sshd -D -e &
    wait $! || true # this wait also reaps the orphans of the host
    sleep 0.2
done
