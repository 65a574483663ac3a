package rootfs

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"
)

// endTime is how long a program that was asked to end may take: mmdebstrap removes what it made.
const endTime = 30 * time.Second

// drainTime is how long after its end a program's words are waited for.
const drainTime = time.Second

// command is a program to run.
type command struct {
	name  string
	args  []string
	dir   string
	input io.Reader
	env   []string // beside this program's own
	// line gets what the program says, line by line; nil: nobody does.
	line func(string)
}

// run runs a program to its end. When ctx ends it, it is interrupted, as Ctrl-C would, with all programs that it runs. The error
// has its last words.
func (c command) run(ctx context.Context) error {
	cmd := exec.CommandContext(ctx, c.name, c.args...)
	cmd.Dir, cmd.Stdin = c.dir, c.input
	cmd.Env = append(os.Environ(), append(c.env, "LC_ALL=C", "PATH="+searchPath())...)
	// A group of its own: Ctrl-C on the terminal comes to us only, and we interrupt all of them, once.
	ownGroup(cmd)
	cmd.Cancel = func() error { return interrupt(cmd) }
	cmd.WaitDelay = endTime
	read, write, err := os.Pipe()
	if err != nil {
		return err
	}
	defer read.Close()
	cmd.Stdout, cmd.Stderr = write, write
	err = cmd.Start()
	if closeErr := write.Close(); err != nil || closeErr != nil {
		return errors.Join(err, closeErr)
	}
	said := make(chan string, 1)
	go func() { said <- listen(read, c.line) }() // ends when no program can write any more, or by the deadline; we wait below
	err = cmd.Wait()
	// What is written is read; a program that another one has left behind may hold the other end for ever.
	err = errors.Join(err, read.SetReadDeadline(time.Now().Add(drainTime)))
	words := <-said
	if ctx.Err() != nil {
		killGroup(cmd) // those that took no notice
		return ctx.Err()
	}
	if err != nil {
		return fmt.Errorf("%s: %w: %s", c.name, err, words)
	}
	return nil
}

// listen passes lines on and keeps the last ones.
func listen(r io.Reader, line func(string)) string {
	var last string
	lines := bufio.NewReader(r)
	for {
		text, err := lines.ReadString('\n')
		if last += text; len(last) > maxSaid {
			last = last[len(last)-maxSaid:]
		}
		if text = strings.TrimSpace(text); text != "" && line != nil {
			line(text)
		}
		if err != nil {
			return strings.TrimSpace(last)
		}
	}
}

// searchPath is PATH with the folders of the administrator's programs, which are not in everybody's.
func searchPath() string {
	path := os.Getenv("PATH")
	for _, dir := range []string{"/usr/sbin", "/sbin"} {
		if !strings.Contains(":"+path+":", ":"+dir+":") {
			path += ":" + dir
		}
	}
	return strings.TrimPrefix(path, ":")
}
