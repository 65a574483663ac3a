package main

import (
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/spate-project/spate/vdisk"
)

// What is wrong in a store is logged once, with everything that an administrator needs to go and repair it.
func TestDamageIsLoggedOnceWithWhatWhereAndWhatToDo(t *testing.T) {
	core, logs := observer.New(zap.InfoLevel)
	d := newDiary(zap.New(core), "lab-a")
	replica := vdisk.Replica{File: "debian12.3.spate"}
	replica.Name, replica.Number = "debian12", 3
	good := vdisk.Inventory{Dir: "/srv/vdisks", Replicas: []vdisk.Replica{replica}}
	d.note(good)
	replica.Damage = []vdisk.Damage{
		{Part: "seal slot 1", Level: -1, Reason: "wrong checksum"},
		{Part: "chunk 17", Index: 17, Fenced: true, Reason: "has another hash than the tree says"},
		{Part: "chunk 18", Index: 18, Reason: "cannot be read: input/output error"},
	}
	bad := vdisk.Inventory{Dir: "/srv/vdisks", Replicas: []vdisk.Replica{replica}, Bad: []vdisk.BadFile{{File: "win11.0.spate", Reason: "incomplete", Advice: "wait"}}}
	d.note(bad)
	d.note(bad)
	want := [][]string{
		{"goes on being served", "seal slot 1", "--like /srv/vdisks/debian12.3.spate"},
		{"from other servers", "chunk 17", "spate vdisk verify debian12@3 --store /srv/vdisks", "beside /srv/vdisks/debian12.3.spate, and mv it over"},
		{"goes on being served", "chunk 18", "input/output error", "system's log"},
		{"file not served", "/srv/vdisks/win11.0.spate", "incomplete", "wait"},
	}
	all := logs.TakeAll()
	if len(all) != len(want) {
		t.Fatalf("%d lines: %v", len(all), all)
	}
	for i, line := range all {
		text := line.Message
		for _, f := range line.Context {
			text += " " + f.String
		}
		for _, w := range append(want[i], "lab-a", "/srv/vdisks") {
			if !strings.Contains(text, w) {
				t.Errorf("does not say %q: %s", w, text)
			}
		}
		if i < 3 && (!strings.Contains(text, "debian12 ") || line.ContextMap()["version"] != uint32(3)) {
			t.Errorf("does not name the version: %s", text)
		}
	}
	d.note(vdisk.Inventory{Dir: "/srv/vdisks", Problem: "cannot be read: input/output error"})
	d.note(good)
	if all := logs.TakeAll(); len(all) != 3 || !strings.Contains(all[0].Message, "not there") || !strings.Contains(all[1].Message, "back") {
		t.Errorf("a store that goes and comes: %v", all)
	}
}
