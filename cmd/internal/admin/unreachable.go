package admin

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"syscall"

	"github.com/spate-project/spate/cmd/internal/farm"
)

// ConnectError says that no server could be asked: where it was looked for, what may be wrong, what to do. It
// wraps a *farm.Error of code unavailable, and the cause.
type ConnectError struct {
	// Where is the socket or address that was tried.
	Where string
	// Text is the whole sentence.
	Text string
	// Err is the cause.
	Err error
}

func (e *ConnectError) Error() string { return e.Text }

// Unwrap gives the code and the cause.
func (e *ConnectError) Unwrap() []error {
	return []error{farm.Errorf(farm.ErrorUnavailable, "%s", e.Text), e.Err}
}

func (c *client) failed(cause error, text string) error {
	return &ConnectError{Where: c.place.String(), Text: text, Err: cause}
}

// unreachable makes a sentence of what went wrong before there was an answer.
func (c *client) unreachable(err error) error {
	if errors.Is(err, context.Canceled) {
		return err
	}
	var slow net.Error
	silent := errors.Is(err, context.DeadlineExceeded) || errors.As(err, &slow) && slow.Timeout()
	if len(c.place.sockets) > 0 {
		return c.failed(err, c.socketText(err, silent))
	}
	return c.failed(err, c.tcpText(err, silent))
}

func (c *client) socketText(err error, silent bool) string {
	path := c.place.String()
	if which := (*socketError)(nil); errors.As(err, &which) {
		path = which.path
	}
	const elsewhere = "--admin (or SPATE_ADMIN) names another one, such as the folder of spated --state or https://HOST:" + DefaultPort
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Sprintf("no server answers here: there is no socket %s. Is spated running on this machine? %s", c.place, elsewhere)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Sprintf("the admin socket %s may not be used by this user%s; use sudo, or join the group that it is open to", path, modeOf(path))
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Sprintf("nobody listens on %s: the spated that made it has ended. Start it again; %s", path, elsewhere)
	case silent:
		return fmt.Sprintf("the server behind %s does not answer; it is stopped, or busy beyond measure. Its log may say more", path)
	}
	return fmt.Sprintf("the server behind %s cannot be asked: %v", path, cause(err))
}

// modeOf tells who may use a socket.
func modeOf(path string) string {
	info, err := os.Stat(path)
	if err != nil {
		return ""
	}
	return fmt.Sprintf(" (its mode is %04o)", info.Mode().Perm())
}

func (c *client) tcpText(err error, silent bool) string {
	var (
		name    *net.DNSError
		unknown x509.UnknownAuthorityError
		other   x509.HostnameError
		invalid x509.CertificateInvalidError
		record  tls.RecordHeaderError
	)
	switch {
	case errors.As(err, &name):
		return fmt.Sprintf("there is no server at %s: the name %s is not known (%s)", c.place, name.Name, name.Err)
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Sprintf("nobody listens at %s: is spated running there, and does the farm file give that server an admin address?", c.place)
	case errors.As(err, &unknown):
		return fmt.Sprintf("%s shows a certificate that nobody known has signed; name its CA, or the certificate itself, with --ca FILE", c.place)
	case errors.As(err, &other), errors.As(err, &invalid):
		return fmt.Sprintf("the certificate of %s is not valid for it: %v", c.place, cause(err))
	case errors.Is(err, http.ErrSchemeMismatch), errors.As(err, &record):
		return fmt.Sprintf("what answers at %s does not speak TLS; it is no admin API of spated", c.place)
	case silent:
		return fmt.Sprintf("%s does not answer: the machine is down, or a packet filter drops TCP to that port", c.place)
	}
	return fmt.Sprintf("%s cannot be asked: %v", c.place, cause(err))
}

// cause takes the layers of net/http and net off an error, which say what our sentence says already.
func cause(err error) error {
	for {
		next := errors.Unwrap(err)
		if next == nil {
			return err
		}
		err = next
	}
}
