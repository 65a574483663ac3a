// Package repotest holds the house rules as tests: which package may import which, that packages and
// exported names are documented, what may stand at the top level, how long a function may be, and that the
// Makefile and the documents speak of the same targets. The tests read the repository's files themselves,
// because a test that asks the go command instead is answered from the test cache after a violation.
//
// A rule that the tree cannot keep yet is a ratchet: an explicit list of what breaks it, which may only
// become shorter. The folder runner holds the program by which the Makefile runs all tests.
package repotest
