package main

import (
	"bytes"
	"context"
	"fmt"
	"go/build/constraint"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// runTagged runs the tests that stand in files built only with a tag, each package by itself and no other
// test: those that measure time must have the machine alone.
func runTagged(ctx context.Context, out io.Writer, strict bool, args []string) error {
	if len(args) == 0 {
		return errUsage
	}
	tag, flags := args[0], args[1:]
	found, err := taggedTests(os.DirFS("."), tag)
	if err != nil {
		return err
	}
	if len(found.names) == 0 {
		fmt.Fprintf(out, "no test is built with the tag %q\n", tag)
		return nil
	}
	command := []string{"-tags", tag, "-p", "1", "-count", "1", "-run", "^(" + strings.Join(found.names, "|") + ")$"}
	return runTests(ctx, out, strict, slices.Concat(command, flags, found.packages))
}

// tests names test functions and the folders they lie in, as package patterns.
type tests struct{ names, packages []string }

var testFunc = regexp.MustCompile(`(?m)^func (Test\w+)\(`)

// taggedTests reads every test file below root and returns those whose build constraint asks for tag.
func taggedTests(root fs.FS, tag string) (tests, error) {
	var t tests
	err := fs.WalkDir(root, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if name := d.Name(); d.IsDir() && path != "." && (name[0] == '.' || name == "testdata" || name == "build") {
			return fs.SkipDir
		}
		if !strings.HasSuffix(path, "_test.go") {
			return nil
		}
		source, err := fs.ReadFile(root, path)
		if err != nil || !needsTag(source, tag) {
			return err
		}
		if names := testFunc.FindAllSubmatch(source, -1); names != nil {
			for _, n := range names {
				if string(n[1]) != "TestMain" {
					t.names = append(t.names, string(n[1]))
				}
			}
			t.packages = append(t.packages, "./"+filepath.ToSlash(filepath.Dir(path)))
		}
		return nil
	})
	slices.Sort(t.names)
	slices.Sort(t.packages)
	t.names, t.packages = slices.Compact(t.names), slices.Compact(t.packages)
	return t, err
}

// needsTag tells whether a file is left out of a build without tag and may be part of one with it.
func needsTag(source []byte, tag string) bool {
	for line := range bytes.Lines(source) {
		text := strings.TrimSpace(string(line))
		if strings.HasPrefix(text, "package ") {
			return false
		}
		if !constraint.IsGoBuild(text) {
			continue
		}
		expr, err := constraint.Parse(text)
		if err != nil {
			return false
		}
		// The other tags are tried all set and all unset: "timed && linux" and "timed && !race" both count.
		with, without := false, false
		for _, other := range []bool{true, false} {
			with = with || expr.Eval(func(name string) bool { return name == tag || other })
			without = without || expr.Eval(func(name string) bool { return name != tag && other })
		}
		return with && !without
	}
	return false
}
