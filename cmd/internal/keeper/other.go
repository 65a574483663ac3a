//go:build !linux

package keeper

import (
	"context"
	"errors"
	"os"
	"time"
)

// Keeper is for Linux.
type Keeper struct{}

var errLinux = errors.New("only Linux boots from a vDisk")

// Start is for Linux.
func Start(Config, *os.File) (*Keeper, error) { return nil, errLinux }

// RunKeeper is for Linux.
func RunKeeper() error { return errLinux }

// RunHeir is for Linux.
func RunHeir() error { return errLinux }

// PID is the number of the keeper's process.
func (k *Keeper) PID() int { return 0 }

// Next waits for the next event.
func (k *Keeper) Next(context.Context) (Event, error) { return Event{}, errLinux }

// Tell tells when a stage was reached.
func (k *Keeper) Tell(Stage, time.Duration) error { return errLinux }

// Close ends the conversation.
func (k *Keeper) Close() error { return nil }

// Upgrade is for Linux.
func Upgrade(string) error { return errLinux }
