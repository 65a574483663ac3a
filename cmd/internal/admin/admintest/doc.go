// Package admintest is a farm for tests of what stands on farm.Service: the admin API, the command line, the
// page. It answers what it is told to answer, and remembers what it was asked.
package admintest
