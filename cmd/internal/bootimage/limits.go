package bootimage

// Bounds of what is read. They are far above what any kernel has, and keep a damaged file from filling memory or disk.
const (
	maxModule   = 256 << 20 // bytes of one module, unpacked
	maxModinfo  = 16 << 20  // bytes of what a module says of itself; the largest has 200 KB
	maxPackage  = 8 << 30   // bytes of what a package unpacks to
	maxMembers  = 200_000   // files in a package
	maxArchive  = 64        // members of the ar file that a package is
	maxIndex    = 64 << 20  // bytes of modules.dep, modules.alias
	maxImage    = 4 << 30   // bytes of a boot image, unpacked
	maxExtra    = 1 << 30   // bytes of one added file
	maxDepth    = 64        // modules that need one another in a row; a kernel has less than 10
	imageWindow = 8 << 20   // window of the zstd frame
)
