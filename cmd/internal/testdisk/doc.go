// Package testdisk is a disk whose every block can be computed: who reads it from a farm knows what each byte must be,
// without keeping a copy. Blocks differ from one another, so that a block in the wrong place is found too; of
// eight stretches of 64 KiB one is zero, half compress well, the others do not compress at all.
package testdisk
