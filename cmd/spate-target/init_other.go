//go:build !linux

package main

func early() {}
