package main

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"go.uber.org/zap"

	"github.com/spate-project/spate/cmd/internal/logging"
	"github.com/spate-project/spate/vdisk"
)

// damageTold is how many damaged objects of one scan are logged one by one; `spate vdisk verify` lists them all.
const damageTold = 8

// keyDo is the log field that says what an administrator can do.
const keyDo = "do"

// diary logs what becomes of a store: each thing once, when it begins and when it is over. It belongs to the
// goroutine that scans the store.
type diary struct {
	log     *zap.Logger
	began   bool
	problem string
	files   map[string]string // by file: "" for a replica, else why it is not served
	damage  map[string]bool   // by file and object
}

// newDiary makes the diary of a store of the server with that name.
func newDiary(log *zap.Logger, server string) *diary {
	return &diary{log: log.With(zap.String(logging.KeyServer, server)), files: map[string]string{}, damage: map[string]bool{}}
}

// note takes what a scan has found.
func (d *diary) note(i vdisk.Inventory) {
	log := d.log.With(zap.String(logging.KeyStore, i.Dir))
	if i.Problem != d.problem {
		if i.Problem != "" {
			log.Error("the store is not there: its vDisks are not offered until it is back; targets of this server go to others",
				zap.String(logging.KeyReason, i.Problem), zap.String(keyDo, "look whether the folder is mounted and its disk works; the store is taken again by itself"))
		} else {
			log.Info("the store is back")
		}
		d.problem = i.Problem
	}
	if i.Problem != "" {
		return
	}
	files, damage := map[string]string{}, map[string]bool{}
	for _, r := range i.Replicas {
		files[r.File] = ""
		if _, known := d.files[r.File]; !known && d.began {
			log.Info("vDisk found", zap.String(logging.KeyFile, r.File))
		}
		d.noteDamage(log, i.Dir, r, damage)
	}
	for _, b := range i.Bad {
		files[b.File] = b.Reason
		if d.files[b.File] != b.Reason {
			log.Error("file not served", zap.String(logging.KeyFile, filepath.Join(i.Dir, b.File)), zap.String(logging.KeyReason, b.Reason), zap.String(keyDo, b.Advice))
		}
	}
	for f := range d.files {
		if _, still := files[f]; !still {
			log.Info("file gone", zap.String(logging.KeyFile, f))
		}
	}
	d.files, d.damage, d.began = files, damage, true
}

// noteDamage logs what is newly known to be wrong with a replica.
func (d *diary) noteDamage(log *zap.Logger, dir string, r vdisk.Replica, damage map[string]bool) {
	log = log.With(zap.String(logging.KeyVDisk, r.Name), zap.Uint32(logging.KeyVersion, r.Number), zap.String(logging.KeyFile, filepath.Join(dir, r.File)))
	told, more := 0, 0
	for _, one := range r.Damage {
		key := fmt.Sprintf("%s %s", r.File, one.Part)
		damage[key] = true
		switch {
		case d.damage[key]:
		case told >= damageTold:
			more++
		default:
			told++
			text := "the replica is damaged: targets get this part of it from other servers"
			if !one.Fenced {
				text = "the replica is damaged and goes on being served"
			}
			log.Error(text, zap.String("part", one.Part), zap.Bool("fenced", one.Fenced), zap.String(logging.KeyReason, one.Reason),
				zap.String(keyDo, one.Advice(r.Name, r.Number, filepath.Join(dir, r.File))))
		}
	}
	if more > 0 {
		log.Error("the replica is damaged in more places", zap.Int("places", more))
	}
}

// scrubFirst is when the first scrub begins at the latest, if there are any: a server that is restarted each day is
// scrubbed, too, and one that has just started has other things to do.
const scrubFirst = 10 * time.Minute

// scrub reads all replicas again, now and then, slowly. What it finds is in the inventory after the next scan.
func (s *server) scrub(ctx context.Context) error {
	if s.p.scrubEvery <= 0 {
		<-ctx.Done()
		return nil
	}
	for wait := min(s.p.scrubEvery, scrubFirst); ; wait = s.p.scrubEvery {
		t := time.NewTimer(wait)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return nil
		}
		for _, st := range s.stores {
			began := time.Now()
			r, err := st.Scrub(ctx, s.p.scrubRate, nil)
			if err != nil {
				return nil // shutting down
			}
			s.log.Info("scrubbed", zap.String(logging.KeyStore, st.Dir()), zap.Int64("objects", r.Objects), zap.Int64(logging.KeyBytes, r.Bytes),
				zap.Int64("bad", r.Bad), zap.Int64("unreadable", r.Unread), zap.Duration(logging.KeyElapsed, time.Since(began)))
		}
	}
}
