// Package vdisk keeps disk images in stores: it imports them, writes and reads the sealed format, verifies,
// scrubs and compares replicas, and watches the folders they lie in. It knows nothing of networks or farms.
//
// # Words
//
//	store    a named folder with vDisk files
//	vDisk    a disk image under a name; its states are numbered versions, 0 is the base
//	version  one immutable, sealed state: one file NAME.NUMBER.spate
//	replica  one store's copy of a version
//	object   a chunk or an index page, named by (level, index) as in package tree
//	fenced   known to be damaged, or in a place that its disk cannot read, and therefore not served
//
// # The sealed file
//
// Package tree says what a disk is; the file adds where its bytes lie. All integers are little-endian, all
// checksums are CRC-32C of the whole structure with the checksum field taken as zero, all reserved bytes are
// zero, all times are nanoseconds since 1970.
//
//	0            header, 4096 bytes
//	4096         groups, one for each leaf page that is not all zero:
//	               stored bytes of the chunks, in order, without gaps
//	               the leaf page
//	               the locator record of the leaf page
//	             between groups, somewhere behind what they are over: upper pages that are not all zero,
//	             each with its record; the top page's comes last
//	...          zeros up to a multiple of 4096
//	             the boot section, where there is one, and zeros up to a multiple of 4096
//	size-8192    seal, slot 0
//	size-4096    seal, slot 1
//
// Everything is written front to back except the header and the table of the boot section, which are filled in before the file gets its name;
// the writer needs to know neither the size of the disk nor the number of levels in advance, and holds one
// page and one record a level.
//
// Header:
//
//	0    [8]byte   "SpateDsk"
//	8    u32       format version, 1
//	12   u32       checksum
//	16   description, 336 bytes:
//	  +0   i64       size of the disk in bytes
//	  +8   u32       sector size in bytes
//	  +12  u32       chunk size in bytes
//	  +16  u32       version number
//	  +20  u8        codec of new chunks (package tree)
//	  +21  u8        1: there is a parent, a delta; 0: there is none
//	  +22  u16       reserved
//	  +24  u32       parent: version number
//	  +28  u32       reserved
//	  +32  [32]byte  parent: root
//	  +64  i64       parent: timestamp
//	  +72  [65]byte  name of the vDisk: length u8, then the bytes
//	  +137 [65]byte  program that wrote the file: length u8, then the bytes
//	  +202 reserved
//
// Seal slot:
//
//	0    [8]byte   "SpateSea"
//	8    u32       format version, 1; 2 with a boot section
//	12   u32       checksum
//	16   u64       sequence number, from 1; of two good slots the higher one counts
//	24   [32]byte  root
//	56   i64       timestamp; with the root it is the version's identity
//	64   [32]byte  BLAKE3-256 of the disk's bytes
//	96   u64       size of this file in bytes
//	104  u64       bytes of chunks stored in this file
//	112  u64       number of chunks that are zero
//	120  u64       number of chunks stored raw
//	128  place     of the locator record of the top page
//	144  i64       when this slot was written
//	152  [129]byte who wrote it: length u8, then the bytes
//	281  reserved
//	288  u64       boot section: offset, a multiple of 4096; with everything else of it 0: there is none
//	296  u64       boot section: length in bytes, without the zeros behind it
//	304  [32]byte  boot section: digest, below
//	336  reserved
//	512  description, the same as in the header
//
// Both slots are written when a version is sealed, so each alone describes the file; so does either slot
// without the header. Adopting a replica writes the slot with the lower number, syncs, and then the other.
//
// # The boot section
//
// A version may carry what its disk is booted with. Without a section the file is as it was before there were any, and
// its seal is of format 1; an older release says of one with a section that a newer release wrote it.
//
//	0    [8]byte   "SpateBoo"
//	8    u32       number of files, 1 to 16
//	12   u32       checksum of the table: these 16 bytes and the entries
//	16   entry, 64 bytes, for each file, in the order of their kinds:
//	  +0   u32       kind: 1 kernel, 2 boot image (initramfs), 3 command line (printable ASCII, one line)
//	  +4   reserved
//	  +8   u64       size in bytes, from 1; a kernel to 256 MiB, a command line to 4096, others to 1 GiB
//	  +16  u64       offset in the file of the version
//	  +24  [32]byte  BLAKE3-256 of the file
//	  +56  reserved
//	...  the files, in the same order, without gaps
//
// Each kind is there once. Kinds that a release does not know are kept and skipped. The digest is BLAKE3-256 over
// "spate vdisk boot", the number of files (u32), and kind (u32), size (u64) and hash of each; it does not depend on where
// they lie. The root of the version depends on it (package tree), so no other kernel can be passed off with the same root.
//
// A section belongs to its version alone: a delta carries its own, or has nothing to boot. Who makes one from its
// parent copies the parent's files if they are to stay.
//
// No wrong byte of a boot file is given to anybody: [Version.OpenBoot] checks a file whole when it is opened for the first
// time, and every read checks what it reads again. Damage fences the version for booting ([BootError]); the disk
// is served on.
//
// # The locator
//
// Locator records are a tree of the same form as the pages, beside it, and outside the root: record (level,
// index) says where page (level, index) lies and where its children do. The child of a leaf page is a chunk;
// that of an upper page is the record of the page below. A subtree of zeros has neither pages nor records,
// and a delta points into its ancestors' records for whatever it shares with them, so a locator is as sparse
// as its disk, is read piece by piece, and costs a lookup one small read for each level that is not cached.
//
//	place, 16 bytes
//	0    u64       offset in the file
//	8    u32       length in bytes; 0 with everything else 0: nothing is stored, all zero
//	12   u16       ancestor: 0 the file that holds the place, n the file of its n-th ancestor
//	14   u16       reserved
//
//	record
//	0    [4]byte   "SpLo"
//	4    u32       checksum
//	8    u8        level of the page, from 1
//	9    u8        reserved
//	10   u16       number of children
//	12   u32       reserved
//	16   u64       index of the page in its level
//	24   place     of the page
//	40   place     of each child
//
// Checksums here find accidents early and cheaply. They are never what makes bytes right: that is the tree,
// which the target checks for itself.
//
// # Identity
//
// A version is named by its root and timestamp ([ID]), never by its number alone. The file's own times mean
// nothing: copying or touching a replica does not change what it is. [Compare] puts the cases into words.
//
// # Writing
//
// A file appears under its name by a rename that replaces nothing, after it and before its folder have been
// synced; a writer that is stopped anywhere leaves the whole version or, at most, a temporary file whose name
// begins with a dot. Such a file is locked while its writer lives, and the next import removes it otherwise.
package vdisk
