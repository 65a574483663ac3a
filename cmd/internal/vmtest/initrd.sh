#!/bin/busybox sh
# Init of the initramfs: modules, then the root file system on the virtual disk.
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
for module in $(cat /modules); do
	insmod "$module" || echo "MARK bad module $module"
done
tries=0
while [ ! -b /dev/vda ]; do
	tries=$((tries + 1))
	if [ "$tries" = 100 ]; then
		echo "MARK bad there is no disk"
		echo o > /proc/sysrq-trigger
	fi
	sleep 0.1
done
mount -t ext4 /dev/vda /new || echo "MARK bad the disk does not mount"
mount -o move /dev /new/dev
umount /sys /proc
exec switch_root /new /spate/init
