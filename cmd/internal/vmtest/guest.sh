#!/bin/bash
# Init of the test machine. It runs from the disk under test; /run is memory. Each line that begins with MARK is read by
# the test. Kernel parameters: spate.rounds=N ends after N rounds, 0 when a line comes in on the console.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t tmpfs tmpfs /run
rounds=$(sed -n 's/.*spate\.rounds=\([0-9]*\).*/\1/p' /proc/cmdline)
bad=0

mark() { echo "MARK $* up=$(cut -d' ' -f1 /proc/uptime)"; }
fail() { bad=$((bad + 1)); mark "bad $*"; }
forget() { echo 3 > /proc/sys/vm/drop_caches; }

# Files that the image was made with, against the checksums that it was made with.
check_files() {
	local parts=(/spate/part.*)
	local part=${parts[$(($1 % ${#parts[@]}))]}
	(cd / && sha256sum --check --quiet "$part") > /run/check 2>&1 || fail "round $1 files: $(head -n 3 /run/check | tr '\n' ' ')"
}

# Parts of the disk itself, past the file system.
check_disk() {
	local megabytes=$(($(cat /sys/block/vda/size) / 2048))
	for at in $(($1 * 37 % megabytes)) $(($1 * 101 % megabytes)); do
		dd if=/dev/vda of=/dev/null bs=1M count=8 skip="$at" iflag=direct status=none || fail "round $1 disk at $at MiB"
	done
}

# What is written is what is read back, as one big file and as many small ones.
check_writes() {
	local file=/spate/work/file.$(($1 % 3))
	head -c 4M /dev/urandom > /run/want
	cp /run/want "$file" && sync -f "$file" || fail "round $1 write"
	cp -a /usr/lib/x86_64-linux-gnu/perl-base /spate/work/tree && sync || fail "round $1 copy"
	forget
	cmp /run/want "$file" || fail "round $1 compare"
	diff -r /usr/lib/x86_64-linux-gnu/perl-base /spate/work/tree > /run/diff || fail "round $1 tree: $(head -n 3 /run/diff | tr '\n' ' ')"
	rm -r /spate/work/tree || fail "round $1 remove"
	if [ $(($1 % 3)) = 2 ]; then
		rm /spate/work/file.*
		fstrim / || fail "round $1 trim"
	fi
}

mark "init"
mkdir -p /spate/work || fail "mkdir"
round=0
while [ "$rounds" = 0 ] || [ "$round" -lt "$rounds" ]; do
	round=$((round + 1))
	forget
	check_files "$round" &
	check_disk "$round" &
	check_writes "$round"
	wait
	mark "round $round"
	if read -r -t 0; then # only looks: with a time, read can run out of it after it has taken the line
		break
	fi
done
mount -o remount,ro / || fail "remount"
mark "done rounds=$round bad=$bad"
echo o > /proc/sysrq-trigger
# Nothing may need the disk any more: the kernel takes it away before it ends this process.
while :; do :; done
