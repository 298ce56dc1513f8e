# Sets up a separate machine from the files of this one and becomes its first program: machine.sh FOLDER PYTHON PREFIX
# SITE_PACKAGES SOURCES COMMAND... Called in new mount, pid, cgroup, uts and ipc namespaces, as root.
# Files written there are in memory and disappear with it. /opt/acpbot is an installation as a virtual environment.
set -e
folder=$1 python=$2 prefix=$3 packages=$4 sources=$5
shift 5

mount --make-rprivate /
mount -t tmpfs tmpfs "$folder"
mkdir "$folder/upper" "$folder/work" "$folder/root"
mount -t overlay -o "lowerdir=/,upperdir=$folder/upper,workdir=$folder/work" overlay "$folder/root"
cd "$folder/root"

# Nothing of this machine's own: no state, no sockets, no homes, no units but those below.
for place in run tmp var/tmp home root opt var/lib etc/systemd/system usr/lib/systemd/system \
    usr/lib/systemd/system-generators etc/sysusers.d etc/tmpfiles.d; do
    mkdir -p "$place"
    mount -t tmpfs -o mode=755 tmpfs "$place"
done
chmod 1777 tmp var/tmp
chmod 700 root

mount -t proc proc proc
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys # the kernel's settings are everybody's
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs -o mode=755 tmpfs dev
mkdir dev/pts dev/shm
for device in null:3 zero:5 full:7 random:8 urandom:9; do
    mknod -m 666 "dev/${device%:*}" c 1 "${device#*:}"
done
mknod -m 666 dev/tty c 5 0
mount -t devpts -o newinstance,ptmxmode=666 devpts dev/pts
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
mount -t tmpfs -o mode=1777 tmpfs dev/shm

mkdir opt/python opt/packages opt/sources
mount --bind "$prefix" opt/python
mount --bind "$packages" opt/packages
mount --bind "$sources" opt/sources
for place in python packages sources; do mount -o remount,bind,ro "opt/$place"; done
mkdir -p opt/acpbot/bin "opt/acpbot/lib/$python/site-packages"
ln -s "/opt/python/bin/$python" opt/acpbot/bin/python
echo 'home = /opt/python/bin' > opt/acpbot/pyvenv.cfg
printf '/opt/sources\n/opt/sources/cli\n/opt/packages\n' > "opt/acpbot/lib/$python/site-packages/places.pth"
for program in acpbot:acpbot.__main__ acpctl:acpctl.app; do
    printf '#!/opt/acpbot/bin/python\nfrom %s import main\nmain()\n' "${program#*:}" > "opt/acpbot/bin/${program%:*}"
    chmod 755 "opt/acpbot/bin/${program%:*}"
done
# A Python whose interpreter is a shared library looks for that where it was built to be, which is hidden here.
if [ -e "opt/python/lib/lib$python.so.1.0" ]; then
    echo /opt/python/lib > etc/ld.so.conf.d/python.conf
    ldconfig -r .
fi

mkdir before
pivot_root . before
cd /
# The targets that services refer to, and a journal.
units=/usr/lib/systemd/system
for unit in sysinit basic multi-user network network-online nss-lookup shutdown umount final local-fs local-fs-pre \
    remote-fs sockets slices paths timers swap; do
    [ ! -e "/before$units/$unit.target" ] || cp "/before$units/$unit.target" "$units/"
done
if [ -e "/before$units/systemd-journald.service" ]; then
    cp "/before$units/systemd-journald.service" "/before$units/systemd-journald.socket" "$units/"
    mkdir "$units/sysinit.target.wants"
    ln -s ../systemd-journald.service "$units/sysinit.target.wants/"
fi
umount -l /before
rmdir /before
rm -f /etc/machine-id
echo uninitialized > /etc/machine-id
mount --make-rshared /
exec env -i container=test PATH=/opt/acpbot/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 "$@"
