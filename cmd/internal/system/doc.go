// Package system holds the tests that run the programs as a person would: servers and targets as processes, the console,
// the tools of NBD and of disk images, on loopback. They are built with the tags system, and timed where a claim is about
// time (see CONTRIBUTING.md); what they share is in package lab.
package system
