// Package filestest is a farm for the tests of what serves package files: it answers what it is told, and keeps what it is told.
package filestest
