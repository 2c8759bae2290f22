#!/bin/busybox sh
# The first program of the virtual machine: get at the host's files, keep what is written in memory.
alias mount="/bin/busybox mount"
/bin/busybox mkdir -p /dev /host /memory
for module in /modules/*.ko; do
	/bin/busybox insmod "$module"
done
mount -t virtiofs -o ro host /host
mount -t tmpfs memory /memory
/bin/busybox mkdir /memory/changes /memory/work /memory/root
mount -t overlay -o lowerdir=/host,upperdir=/memory/changes,workdir=/memory/work root /memory/root
/bin/busybox cp -r /vm /memory/root/run/
exec /bin/busybox switch_root /memory/root /bin/sh /run/vm/init.sh
