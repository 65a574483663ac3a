//go:build !linux

package worker

import (
	"context"
	"errors"
)

// Run is for Linux.
func Run(context.Context) error { return errors.New("only Linux boots from a vDisk") }
