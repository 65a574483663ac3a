package logging

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
)

func TestJSONLinesCarryTheKeysAndReadableDurations(t *testing.T) {
	var out bytes.Buffer
	log, _, err := New(Options{Format: JSON, Output: &out})
	if err != nil {
		t.Fatal(err)
	}
	log.Named("stream").Info("target moved", zap.String(KeyServer, "lab-a"), zap.Duration(KeyElapsed, 2*time.Millisecond))
	var line map[string]any
	if err := json.Unmarshal(out.Bytes(), &line); err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]any{"level": "info", "logger": "stream", "msg": "target moved", "server": "lab-a", "elapsed": "2ms"} {
		if line[key] != want {
			t.Errorf("%s is %v, want %v", key, line[key], want)
		}
	}
	if _, err := time.Parse(time.RFC3339Nano, line["time"].(string)); err != nil {
		t.Error(err)
	}
}

func TestJournalGetsNoTimeOfOurOwn(t *testing.T) {
	t.Setenv("JOURNAL_STREAM", "8:1")
	var out bytes.Buffer
	log, _, err := New(Options{Output: &out})
	if err != nil {
		t.Fatal(err)
	}
	log.Warn("one server left")
	if got := out.String(); got != "WARN  one server left\n" {
		t.Errorf("got %q", got)
	}
}

func TestLevelChangesWhileRunning(t *testing.T) {
	var out bytes.Buffer
	log, level, err := New(Options{Level: "warn", Format: Console, Output: &out})
	if err != nil {
		t.Fatal(err)
	}
	log.Info("before")
	level.SetLevel(zap.DebugLevel)
	log.Debug("after")
	if got := out.String(); strings.Contains(got, "before") || !strings.Contains(got, "after") {
		t.Errorf("got %q", got)
	}
}

func TestWrongOptionsSayWhatIsRight(t *testing.T) {
	for _, o := range []Options{{Level: "loud"}, {Level: "fatal"}, {Format: "xml"}} {
		if _, _, err := New(o); err == nil || !strings.Contains(err.Error(), "use ") {
			t.Errorf("%+v: got error %v", o, err)
		}
	}
}

func TestNilLoggerIsSilent(*testing.T) {
	Or(nil).Error("nobody hears this")
}
