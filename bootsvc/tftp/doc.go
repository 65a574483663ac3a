// Package tftp serves the tree of package files by TFTP (RFC 1350, 2347, 2348, 2349), for reading only.
//
// The protocol is github.com/pin/tftp/v3. What real clients ask of it (seen on the wire: OVMF 2022.11, shim 16.1, GRUB 2.06,
// iPXE 2019):
//
//	OVMF    RRQ shimx64.efi octet, tsize 0, blksize 1468, windowsize 4; ERROR 8 as soon as it knows the size; then
//	        the same from another port, without tsize
//	shim    RRQ for what stands beside it: revocations, certificates, grubx64.efi; blksize 512, windowsize 4
//	GRUB    RRQ /grub/grub.cfg (leading slash), blksize 1024, tsize 0
//	iPXE    RRQ blksize 1432, tsize 0
//
// The datagrams themselves are in testdata/boot/tftp, and the tests send them.
//
// The windowsize option (RFC 7440) is left out of every answer: v3.1.0 of the library does not know it. A client that
// asked for it then goes on with windows of one block, as RFC 2347 wants and as all of these do. Its
// "anticipation" sends windows to clients that have not agreed to any, and stays off. Each transfer has a port of its own: the
// single-port mode of the library gives datagrams of one address to one transfer, which mixes up a probe and the transfer after it.
// A name that does not exist is answered at once, because firmware waits for seconds otherwise. An acknowledgement that is
// repeated is ignored, so that no block is sent twice for ever (the Sorcerer's Apprentice); a lost block is sent again
// after timeout.
package tftp
