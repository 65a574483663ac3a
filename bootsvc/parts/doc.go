// Package parts is the head of a boot image whose first part is enough for most machines: package bootimage writes it, and the HTTP
// service reads it, to give a machine with a common network card no drivers of other cards.
//
// A boot image with parts is one file, which any loader can load whole:
//
//	head         a cpio archive of the kind newc, not packed, with one file: File
//	first part   an archive that is complete by itself
//	second part  an archive that adds what the other cards need, and files that replace those of the first part
//
// Kernels unpack one archive behind the other, and the later one's files replace the earlier one's
// (Documentation/driver-api/early-userspace/buffer-format.rst). An archive that is not packed begins at a multiple of four bytes.
//
// The head's file has lines of words with one space between them, in this order:
//
//	spate boot image 1          the version of this format
//	first 000001234567          bytes from the file's begin to the end of the first part
//	cards 8086 1004 1008 …      one vendor's cards that the first part drives and the second does not, by their PCI ids, in order
//	cards 1af4 *                the same for all cards of a vendor
//	sum 0123abcd                CRC-32 of all lines above
//
// A head that is not written exactly so, to the byte, counts for nothing: the image is loaded whole. So does a card that is not in it.
package parts
