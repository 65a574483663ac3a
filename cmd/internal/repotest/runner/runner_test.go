package main

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// events is what go test -json wrote for a package of each kind, shortened.
const events = `{"ImportPath":"m/broken","Action":"build-output","Output":"# m/broken\n"}
{"ImportPath":"m/broken","Action":"build-output","Output":"broken/a.go:3:9: undefined: y\n"}
{"ImportPath":"m/broken","Action":"build-fail"}
{"Action":"start","Package":"m/broken"}
{"Action":"output","Package":"m/broken","Output":"FAIL\tm/broken [build failed]\n"}
{"Action":"fail","Package":"m/broken","Elapsed":0,"FailedBuild":"m/broken"}
{"Action":"start","Package":"m/good"}
{"Action":"output","Package":"m/good","Output":"-test.shuffle 123\n"}
{"Action":"run","Package":"m/good","Test":"TestA"}
{"Action":"output","Package":"m/good","Test":"TestA","Output":"=== RUN   TestA\n"}
{"Action":"output","Package":"m/good","Test":"TestA","Output":"    a_test.go:7: chatter of a passing test\n"}
{"Action":"pass","Package":"m/good","Test":"TestA","Elapsed":0}
{"Action":"run","Package":"m/good","Test":"TestVM"}
{"Action":"output","Package":"m/good","Test":"TestVM","Output":"=== RUN   TestVM\n"}
{"Action":"output","Package":"m/good","Test":"TestVM","Output":"    vm_test.go:12: qemu-img is missing: apt-get install qemu-utils\n"}
{"Action":"output","Package":"m/good","Test":"TestVM","Output":"--- SKIP: TestVM (0.00s)\n"}
{"Action":"skip","Package":"m/good","Test":"TestVM","Elapsed":0}
{"Action":"output","Package":"m/good","Output":"PASS\n"}
{"Action":"output","Package":"m/good","Output":"ok  \tm/good\t0.012s\n"}
{"Action":"pass","Package":"m/good","Elapsed":0.012}
{"Action":"start","Package":"m/bad"}
{"Action":"output","Package":"m/bad","Output":"-test.shuffle 99\n"}
{"Action":"run","Package":"m/bad","Test":"TestB"}
{"Action":"output","Package":"m/bad","Test":"TestB","Output":"=== RUN   TestB\n"}
{"Action":"output","Package":"m/bad","Test":"TestB","Output":"    b_test.go:9: want 1, got 2\n"}
{"Action":"output","Package":"m/bad","Test":"TestB","Output":"--- FAIL: TestB (0.00s)\n"}
{"Action":"fail","Package":"m/bad","Test":"TestB","Elapsed":0}
{"Action":"run","Package":"m/bad","Test":"TestHang"}
{"Action":"output","Package":"m/bad","Test":"TestHang","Output":"=== RUN   TestHang\n"}
{"Action":"output","Package":"m/bad","Test":"TestHang","Output":"panic: test timed out after 1s\n"}
{"Action":"output","Package":"m/bad","Output":"FAIL\tm/bad\t1.002s\n"}
{"Action":"fail","Package":"m/bad","Elapsed":1.002}
{"Action":"start","Package":"m/none"}
{"Action":"output","Package":"m/none","Output":"?   \tm/none\t[no test files]\n"}
{"Action":"skip","Package":"m/none","Elapsed":0}
not json at all
`

func TestReportShowsFailuresInFullAndTheRestInOneLine(t *testing.T) {
	var out bytes.Buffer
	r := newReport(&out, false)
	for line := range bytes.Lines([]byte(events)) {
		r.line(bytes.TrimSuffix(line, []byte("\n")))
	}
	err := r.close(errors.New("go test: exit status 1"))
	if err == nil {
		t.Fatal("a failed package must fail the run")
	}
	got := out.String() + "error: " + err.Error() + "\n"
	golden := filepath.Join("testdata", "report.golden")
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("report:\n%s\nwant:\n%s", got, want)
	}
}

func TestStrictRunFailsOnSkippedOrMissingTests(t *testing.T) {
	pass := `{"Action":"pass","Package":"m","Test":"TestA"}`
	skip := `{"Action":"skip","Package":"m","Test":"TestB"}`
	cases := []struct {
		name   string
		strict bool
		lines  []string
		err    error
		want   string // part of the error; empty for none
	}{
		{"all pass", true, []string{pass}, nil, ""},
		{"a skip outside CI", false, []string{pass, skip}, nil, ""},
		{"a skip in CI", true, []string{pass, skip}, nil, "1 skipped"},
		{"nothing ran outside CI", false, nil, nil, ""},
		{"nothing ran in CI", true, nil, nil, "no test ran"},
		{"the go command failed though all events look well", false, []string{pass}, errors.New("exit status 2"), "exit status 2"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			r := newReport(&bytes.Buffer{}, c.strict)
			for _, l := range c.lines {
				r.line([]byte(l))
			}
			err := r.close(c.err)
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("got error %v, want one with %q", err, c.want)
			}
		})
	}
}

func TestTaggedFindsOnlyTestsThatNeedTheTag(t *testing.T) {
	root := fstest.MapFS{
		"a/timed_test.go": {Data: []byte("// Licence.\n\n//go:build timed && linux\n\npackage a\n\nfunc TestPause(t *testing.T) {\n}\n\nfunc TestMain(m *testing.M) {}\n")},
		"e/alone_test.go": {Data: []byte("//go:build timed && !race\n\npackage e\n\nfunc TestAlone(t *testing.T) {}\n")},
		"a/plain_test.go": {Data: []byte("package a\n\n//go:build timed\n\nfunc TestPlain(t *testing.T) {}\n")},
		"b/not_test.go":   {Data: []byte("//go:build !timed\n\npackage b\n\nfunc TestNot(t *testing.T) {}\n")},
		"c/race_test.go":  {Data: []byte("//go:build !race\n\npackage c\n\nfunc TestAllocs(t *testing.T) {}\n")},
		"build/x_test.go": {Data: []byte("//go:build timed\n\npackage x\n\nfunc TestBuild(t *testing.T) {}\n")},
		"d/help_test.go":  {Data: []byte("//go:build timed\n\npackage d\n\nfunc helper() {}\n")},
	}
	got, err := taggedTests(root, "timed")
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(got.names, []string{"TestAlone", "TestPause"}) || !slices.Equal(got.packages, []string{"./a", "./e"}) {
		t.Errorf("got %v, want TestPause in ./a and TestAlone in ./e", got)
	}
}

// The end of a fuzz target's time is no failure of it; an input that fails is one, also at the end, and so is all else that is said.
func TestTheEndOfFuzzingIsToldFromAFailure(t *testing.T) {
	const begin = "fuzz: elapsed: 5s, execs: 495158 (97204/sec), new interesting: 0 (total: 22)\n--- FAIL: FuzzX (5.06s)\n    "
	const end = "FAIL\nexit status 1\nFAIL\tm/x\t5.065s\n"
	for text, want := range map[string]bool{
		begin + "context deadline exceeded\n" + end:                                                                     true,
		begin + "--- FAIL: FuzzX (0.00s)\n        x_test.go:1: context deadline exceeded\n" + end:                       false,
		begin + "context deadline exceeded\n    \n    Failing input written to testdata/fuzz/FuzzX/12\n" + end:          false,
		begin + "fuzzing process hung or terminated unexpectedly: exit status 2\n    context deadline exceeded\n" + end: false,
		"# m/x\nx.go:3:9: undefined: y\n" + end:                                                                         false,
		end:                                                                                                             false,
		"":                                                                                                              false,
	} {
		if got := onlyTimeEnded(text); got != want {
			t.Errorf("%v of\n%s", got, text)
		}
	}
}
