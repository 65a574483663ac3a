// Package tree holds what a disk is, apart from where it lies: the Merkle tree over its chunks, the codecs
// of chunks, and their checks. It is pure: no files, no clock, no goroutines. Servers build and store trees,
// targets check what they receive against them, and both import this package, so it stays small.
//
// # Shape
//
// A disk is cut into chunks of one size, a power of two from 4 KiB to 1 MiB; the last may be short. Chunks
// are level 0. Level 1 has one leaf page for 64 chunks, level 2 one page for 64 leaf pages, and so on up to
// the single top page. The number of levels follows from the size; there is always at least one. A chunk or
// a page is called an object and is named by (level, index).
//
// # Page
//
// A page is its entries, nothing else: exactly as many as there are children, at most 64. All integers are
// little-endian.
//
//	entry, 36 bytes
//	0   u32       kind in the top 4 bits, stored length in bytes in the low 28
//	4   [32]byte  BLAKE3-256 of the stored bytes of the child; all zero when the kind is Zero
//
//	kind   name  stored bytes of the child
//	0      Zero  none; the chunk, or every chunk below the page, is zero
//	1      Raw   the chunk itself
//	2      Zstd  one zstd frame that decodes to the chunk
//	3      S2    one s2 block that decodes to the chunk
//	4      Page  the page
//
// There is one way only to write a tree, and [ParsePage] refuses every other: a Zero entry has no length
// and no hash; Raw has exactly the chunk's length; Zstd and S2 save at least 1/16 of it; leaf pages hold
// chunks and the others hold pages; a page has exactly the length its place demands; a page of Zero entries
// only does not exist below the top, because its parent says Zero. So equal disks that were encoded equally
// have equal roots, and equal subtrees have equal hashes in every version of a disk.
//
// # Root
//
// The root names the content. It is BLAKE3-256 over:
//
//	0   [16]byte  "spate vdisk tree"
//	16  u32       format version, 1
//	20  u32       sector size in bytes
//	24  u32       chunk size in bytes
//	28  u32       fan-out, 64
//	32  u64       size of the disk in bytes
//	40  ...       the top page
//	..  [32]byte  digest of what the disk is booted with (package vdisk); left out where there is nothing
//
// It holds no file offset, no name, no time and nothing about parents: a copy, a merge of a chain of
// versions and a move to another store leave it as it was.
//
// Hashes cover stored bytes, so that a receiver checks what came before it gives it to a decompressor.
package tree
