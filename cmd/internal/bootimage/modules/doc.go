// Package modules is the list of kernel modules in a boot image: package bootimage writes it to File, spate-target as init
// reads it, loads what is always needed, and then what the machine in which it finds itself needs.
//
// A line has words with one space between them. The first says what the line is, unknown ones are ignored:
//
//	kernel VERSION                 the kernel that the modules are for, once
//	part first                     the list is that of the first part of a boot image, which has more; not there otherwise
//	module NAME PATH [NEED …]      a module, its file in the image, and what must be loaded before it, in this order; a
//	                               NEED with a question mark before its name is wanted but may fail
//	later NAME OTHER               OTHER belongs after NAME, and may fail: the kernel would ask modprobe for it
//	base NAME                      to be loaded in any case, in the order of these lines
//	fs NAME                        a file system that can be mounted; when it is a module it has this name
//	alias PATTERN NAME             a device whose modalias matches PATTERN is driven by NAME
//
// Needs are complete: those of a need stand in the same line, before it. Names have underscores in place of hyphens, as
// /proc/modules has them; PATTERN is that of modules.alias, with *, ? and [a-z].
//
// What init does with it:
//
//  1. Order(Base...) and finit_module for each.
//  2. For each /sys/bus/*/devices/*/modalias that it has not seen yet: Match, Order, and finit_module for each. Then
//     again, until a round brings no device that is new: behind a PCI device there can be a bus of its own (virtio, USB,
//     VMBus), whose devices appear a moment after its driver.
//  3. Before the root file system is mounted: Order(type), for a type that is one of FileSystems. They are not loaded in
//     any case, because some take their time: btrfs measures first which way of computing parity is the fastest.
//
// A module that is loaded already gives EEXIST, which is no failure; one that finds no device, or not the right CPU, gives
// ENODEV. The kernel asks for a few modules itself, by running /sbin/modprobe -q -- NAME with a name or an alias (the
// driver of a PHY, an algorithm): Resolve finds those in the list, for an init that wants to serve it.
package modules
