// Command vmdemo is what `make run-vm` shows: two servers with boot services, and a virtual machine without a disk that boots
// from them, from power-on. Its console is the terminal, and keys go to it. Once the machine's own clock ticks (package clock), the servers
// that serve it are stopped, killed and frozen in turn; the machine reads and writes its disk all the while.
//
// Servers and machine live in network namespaces that end with this program; nothing of the computer's network is touched.
package main
