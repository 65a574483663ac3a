// Package fakekernel makes files for tests that look like a kernel, its modules, and programs, and are a few bytes each.
package fakekernel
