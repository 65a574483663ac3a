package main

import (
	"os"
	"strings"
	"testing"
)

// Whoever starts a server goes on as before; the server runs at the niceness of servers.
func TestServersRunAtTheirNiceness(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("a niceness below one's own takes root")
	}
	ours := niceness(t, start)
	if got := niceness(t, startServer); got != "-10" {
		t.Errorf("a server runs at niceness %s", got)
	}
	if got := niceness(t, start); got != ours {
		t.Errorf("a client that is started after a server runs at niceness %s, before it %s", got, ours)
	}
}

// niceness is the one of a program that is started so.
func niceness(t *testing.T, start func(ns, name string, args ...string) (*child, error)) string {
	t.Helper()
	c, err := start("", "nice") // prints its niceness
	if err != nil {
		t.Fatal(err)
	}
	<-c.done
	if c.err != nil {
		t.Fatal(c.err)
	}
	return strings.TrimSpace(c.out.text())
}
