# The rest of a lab host's boot where systemd is its first process. Argument: the lab's state directory.
# The host shares the machine's root file system, so systemd must know none of the machine's units, start none of its
# generators and write nowhere but into what is the host's own: /etc, /run, /dev, /tmp, /var/tmp, /var/log.
set -eu
mount -t tmpfs -o size=64m,mode=1777 tmp /var/tmp
mount -t tmpfs -o size=64m,mode=755 log /var/log

new=/run/dev
mkdir "$new"
mount -t tmpfs -o size=64k,mode=755 dev "$new"
for node in null zero full random urandom tty; do cp -a "/dev/$node" "$new/$node"; done
mkdir "$new/shm" "$new/pts"
mount -t tmpfs -o size=64m,mode=1777 shm "$new/shm"
mount -t devpts -o newinstance,ptmxmode=666,mode=620,gid=5 devpts "$new/pts"
ln -s pts/ptmx "$new/ptmx"
ln -s /proc/self/fd "$new/fd"
for number in 0:stdin 1:stdout 2:stderr; do ln -s "fd/${number%:*}" "$new/${number#*:}"; done
mount --rbind "$new" /dev
umount -l "$new"

exec env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin RECOVERD_LAB_STATE="$1" \
    container=recoverd-lab SYSTEMD_LOG_TARGET=null \
    SYSTEMD_UNIT_PATH=/etc/systemd/system:/etc/recoverd-lab/units \
    SYSTEMD_GENERATOR_PATH=/nonexistent SYSTEMD_ENVIRONMENT_GENERATOR_PATH=/nonexistent \
    unshare --cgroup sh -c 'mount -t cgroup2 cgroup2 /sys/fs/cgroup && exec /lib/systemd/systemd --unit=lab.target'
