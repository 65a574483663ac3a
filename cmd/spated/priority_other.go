//go:build !linux

package main

// preferMe does nothing here.
func preferMe() {}
