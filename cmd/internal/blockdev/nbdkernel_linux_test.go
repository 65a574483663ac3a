package blockdev

import (
	"os"
	"path/filepath"
	"testing"
)

// Only what is not as it should be is stored: the kernel may stop the queue for that, until all in flight has come to its end.
func TestAQueueThatIsTunedIsLeftAlone(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "iosched"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{"max_sectors_kb": "128\n", "read_ahead_kb": "128\n", "rotational": "0\n", "io_timeout": "30000\n", "iosched/async_depth": "256\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(value), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := tuneQueue(dir); err != nil {
		t.Error(err)
	}
	// The kernel ends a value with a new line; we do not.
	for name, want := range map[string]string{"max_sectors_kb": "1024", "read_ahead_kb": "128\n", "rotational": "0\n", "io_timeout": "5000", "iosched/async_depth": "6", "add_random": ""} {
		if got, _ := os.ReadFile(filepath.Join(dir, name)); string(got) != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}
