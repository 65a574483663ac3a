// Package ipxe is what a machine runs between its firmware and its kernel: the loaders, which are files of Debian packages, and
// the iPXE script or GRUB configuration that is written for each machine.
//
// Everything is a function of (Client, Entry, Farm). Words from outside (titles, names, sentences) are reduced to plain ones
// before they go into a script; a command line that a script cannot carry exactly is refused with a sentence, never altered.
package ipxe
