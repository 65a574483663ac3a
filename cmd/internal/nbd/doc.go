// Package nbd is a client of disks that are NBD servers, as the tests and the benchmark need one: it reads, over the fixed
// newstyle without options and with simple replies, many reads at a time on one connection. What a program on the disk
// would wait for, a read waits for. The server is in package blockdev.
//
// Source: doc/proto.md of the NetworkBlockDevice project.
package nbd
