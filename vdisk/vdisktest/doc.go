// Package vdisktest is for tests of whatever serves or reads vDisks: an image in memory, wrappers that make an
// image faulty, slow or short of breath, and the contract that every one of them keeps.
package vdisktest
