package rootfs

// Bounds of what is read from a root folder, and of what a program says before it fails.
const (
	maxConfig = 1 << 20 // bytes of fstab, shadow, passwd
	maxSaid   = 4 << 10 // bytes of a program's last words
)
