package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/spate-project/spate/cmd/internal/keeper"
	"github.com/spate-project/spate/cmd/internal/worker"
)

// keep is this program as keeper or worker of the disk that a machine runs from, when args say so. These processes are
// started by spate-target as init and by one another, never by people: the command is not in the help.
func keep(args []string) (code int, ok bool) {
	if len(args) != 3 || args[1] != keeper.Command {
		return 0, false
	}
	err := errors.New("this command is for spate-target itself")
	switch args[2] {
	case keeper.RoleKeeper:
		err = keeper.RunKeeper()
	case keeper.RoleHeir:
		err = keeper.RunHeir()
	case keeper.RoleWorker:
		err = worker.Run(context.Background())
	}
	fmt.Fprintln(os.Stderr, err)
	return 1, true
}
