// Package nic brings up the network card of a machine whose root file system comes over it, and keeps it up.
//
//	Up       finds the card that PXE used, waits for its link, gets an address by DHCP (RFC 2131), from the boot loader or from ip=
//	Run      renews the lease until the operating system configures the card itself; repairs what takes the network away
//	Adopt    goes on with the card of an agent that has died: its lease counts
//	HandOver tells the network services of the operating system to leave the address alone
//
// The address has no lifetime in the kernel: a machine that is frozen for an hour, or whose DHCP server is gone, must
// reach its disk all the same. The price is known: an address whose lease has run out is still used, and that is said. The card is
// known by index and MAC address, never by name, because udev renames it.
//
// Three decisions are values that are stepped or plain functions: the DHCP client (client), what to do when the kernel's
// state is not what it should be (keeper), and which card (choose). DHCP answers are received by a packet socket:
// it hears them whatever firewall the operating system loads, and takes no port from the operating system's own client. A
// UDP checksum is not looked at, since on virtual cards it is often not there yet; transaction number and MAC address
// say whose an answer is.
//
// A lease of the boot loader is used at once, and asked for again a few seconds later as if it were to be renewed: iPXE
// speaks with the same client identifier and MAC address, so that to its server nothing has changed. One that it took over from
// other firmware, or that another kernel was given long before kexec, is refused then, and there is another address.
//
// Left out: no ARP probe before an address is used (the server looks for conflicts, and firmware has used it a moment ago);
// IPv6 is left to the kernel, which takes its address from router advertisements.
package nic
