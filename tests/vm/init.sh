#!/bin/sh
# Runs in the virtual machine, where / is a copy of the host's files that is gone afterwards.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export HOME=/tmp LANG=C.UTF-8 TERM=dumb COLUMNS=100 PYTHONUNBUFFERED=1
export PYDAMON_VM=1 # tests may do everything here
settings=/run/vm

for place in dev proc sys tmp; do
	mkdir -p /$place
done
checkout=$(cat $settings/checkout)
mkdir /run/checkout
mount --bind "$checkout" /run/checkout
mount -t devtmpfs dev /dev
exec <>/dev/console >&0 2>&1
mount -t proc proc /proc
mount -t sysfs sys /sys
mkfs.ext4 -q -O ^has_journal -E nodiscard /dev/vda
mount -o noinit_itable /dev/vda /tmp
chmod 1777 /tmp
mkdir -p "$checkout" # it may lie in /tmp
mount --bind /run/checkout "$checkout"
mkdir -p /dev/shm /dev/pts
mount -t tmpfs shm /dev/shm
mount -t devpts pts /dev/pts
mount -t cgroup2 cgroup /sys/fs/cgroup
mount -t debugfs debug /sys/kernel/debug
mount -t tracefs trace /sys/kernel/tracing
ip link set lo up
stty raw -echo

# Debian's kernels watch from the start, since Linux 6.17: who wants DAMON finds it taken.
stat=/sys/module/damon_stat/parameters/enabled
[ ! -e $stat ] || echo N >$stat

if [ -e $settings/zram ]; then
	cat $settings/zram >/sys/block/zram0/disksize
	mkswap /dev/zram0 >/dev/null
	swapon /dev/zram0
fi
if [ -e $settings/mthp ]; then
	for file in /sys/kernel/mm/transparent_hugepage/hugepages-*kB/enabled; do
		echo always >"$file"
	done
fi

mkdir -p /tmp/results
{
	sh $settings/command 2>&1
	echo $? >/tmp/results/exit-code
} </dev/null | cat
tar -C /tmp/results -c . | dd of=/dev/vdb bs=64K iflag=fullblock conv=fsync status=none
echo o >/proc/sysrq-trigger
while :; do :; done # files cannot be read any more
