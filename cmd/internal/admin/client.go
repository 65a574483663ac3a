package admin

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"mime"
	"net"
	"net/http"
	"net/url"
	"os"
	"time"

	"github.com/spate-project/spate/cmd/internal/farm"
	"github.com/spate-project/spate/cmd/internal/keyfile"
)

// The bounds of a client.
const (
	connectWithin = 5 * time.Second
	// askWithin is longer than a server takes at most, so that its own sentence arrives.
	askWithin      = answerWithin + 2*time.Second
	maxAnswerBytes = 64 << 20
)

// DialOptions are what TLS needs; a socket needs nothing.
type DialOptions struct {
	// TokenFile holds the token that the server wants.
	TokenFile string
	// CAFile holds the certificates, PEM, that the server's is checked against; empty means the system's.
	CAFile string
}

// client is farm.Service at the other end of a connection. Its methods may be called at once.
type client struct {
	place place
	o     DialOptions
	token string
	http  *http.Client
	// silence is the longest time without a line in a stream of a stop.
	silence time.Duration
}

var _ farm.Service = (*client)(nil)

// Dial returns the farm that the server at a place belongs to. The place is the path of a Unix socket or of a
// folder with admin.sock in it, https://HOST[:PORT], HOST:PORT, or empty for the usual sockets of this machine.
// Nothing is connected yet: that happens for each request, and the error is a *ConnectError when it fails.
func Dial(where string, o DialOptions) (farm.Service, error) {
	return dial(where, o)
}

func dial(where string, o DialOptions) (*client, error) {
	p, err := parsePlace(where)
	if err != nil {
		return nil, err
	}
	c := &client{place: p, o: o, silence: 10 * beatEvery}
	dialer := &net.Dialer{Timeout: connectWithin}
	t := &http.Transport{
		DisableKeepAlives: true, TLSHandshakeTimeout: connectWithin, ResponseHeaderTimeout: askWithin, DialContext: dialer.DialContext,
	}
	c.http = &http.Client{Transport: t, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	if len(p.sockets) > 0 {
		t.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialSockets(ctx, dialer, c.place.sockets)
		}
		return c, nil
	}
	if o.TokenFile == "" {
		return nil, fmt.Errorf("%s wants a token: name the file that holds it, a copy of the server's token_file", p)
	}
	key, err := keyfile.Read(o.TokenFile)
	if err != nil {
		return nil, fmt.Errorf("token: %w", err)
	}
	c.token = keyfile.Text(key)
	t.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS13}
	if o.CAFile != "" {
		pem, err := os.ReadFile(o.CAFile)
		if err != nil {
			return nil, fmt.Errorf("certificates to check the server by: %w", err)
		}
		t.TLSClientConfig.RootCAs = x509.NewCertPool()
		if !t.TLSClientConfig.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("certificates to check the server by: %s holds none in PEM", o.CAFile)
		}
	}
	return c, nil
}

// socketError says which socket an error is about.
type socketError struct {
	path string
	err  error
}

func (e *socketError) Error() string { return e.path + ": " + e.err.Error() }
func (e *socketError) Unwrap() error { return e.err }

// dialSockets connects to the first socket behind which somebody listens. When there is none, the error is about
// the first that exists, or the last.
func dialSockets(ctx context.Context, d *net.Dialer, paths []string) (net.Conn, error) {
	var first *socketError
	for _, path := range paths {
		c, err := d.DialContext(ctx, "unix", path)
		if err == nil {
			return c, nil
		}
		if first == nil || errors.Is(first, fs.ErrNotExist) {
			first = &socketError{path, err}
		}
	}
	return nil, first
}

// Servers asks the farm.
func (c *client) Servers(ctx context.Context) (farm.ServerList, error) {
	return ask[farm.ServerList](ctx, c, http.MethodGet, pathServers, nil)
}

// Targets asks the farm.
func (c *client) Targets(ctx context.Context) (farm.TargetList, error) {
	return ask[farm.TargetList](ctx, c, http.MethodGet, pathTargets, nil)
}

// VDisks asks the farm.
func (c *client) VDisks(ctx context.Context) (farm.VDiskList, error) {
	return ask[farm.VDiskList](ctx, c, http.MethodGet, pathVDisks, nil)
}

// Explain asks the farm.
func (c *client) Explain(ctx context.Context, device string) (farm.Explanation, error) {
	return ask[farm.Explanation](ctx, c, http.MethodGet, pathExplain+"?"+url.Values{"device": {device}}.Encode(), nil)
}

// StartStream asks the farm.
func (c *client) StartStream(ctx context.Context, server string) error {
	_, err := ask[started](ctx, c, http.MethodPost, pathStartStream, startRequest{server})
	return err
}

// ask is one request and its answer.
func ask[T any](ctx context.Context, c *client, method, path string, in any) (T, error) {
	var out T
	ctx, stop := context.WithTimeout(ctx, askWithin)
	defer stop()
	resp, err := c.send(ctx, method, path, in)
	if err != nil {
		return out, err
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxAnswerBytes)).Decode(&out); err != nil {
		if ctx.Err() != nil {
			return out, c.unreachable(context.Cause(ctx))
		}
		return out, farm.Errorf(farm.ErrorUnavailable, "the answer of %s cannot be read: %v; is it of another version than this program?", c.place, err)
	}
	return out, nil
}

// send sends a request. The answer that it returns is a good one; its body is the caller's to close.
func (c *client) send(ctx context.Context, method, path string, in any) (*http.Response, error) {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return nil, err
		}
		body = bytes.NewReader(b)
	}
	base := "http://spate"
	if len(c.place.sockets) == 0 {
		base = c.place.String()
	}
	r, err := http.NewRequestWithContext(ctx, method, base+path, body)
	if err != nil {
		return nil, err
	}
	r.Header.Set("Accept", "application/json")
	if in != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	if c.token != "" {
		r.Header.Set("Authorization", "Bearer "+c.token)
	}
	resp, err := c.http.Do(r)
	if err != nil {
		return nil, c.unreachable(err)
	}
	if resp.StatusCode == http.StatusOK {
		return resp, nil
	}
	defer resp.Body.Close()
	return nil, c.refused(resp)
}

// refusedError is an answer that is an error, with the progress that came with it.
type refusedError struct {
	err      *farm.Error
	progress farm.StopProgress
}

func (e *refusedError) Error() string { return e.err.Error() }
func (e *refusedError) Unwrap() error { return e.err }

// refused makes an error of an answer that is one.
func (c *client) refused(resp *http.Response) error {
	var p problem
	kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	err := json.NewDecoder(io.LimitReader(resp.Body, maxAnswerBytes)).Decode(&p)
	ours := err == nil && kind == "application/problem+json"
	switch {
	case resp.StatusCode == http.StatusUnauthorized && ours:
		return c.failed(errors.New("unauthorized"), fmt.Sprintf("%s does not accept the token in %s; it must be the one in the server's token_file", c.place, c.o.TokenFile))
	case !ours && resp.StatusCode == http.StatusBadRequest && c.place.plain:
		return c.failed(errors.New("bad request"), fmt.Sprintf("what answers at %s wants TLS; write https://%s", c.place, c.place.host))
	case !ours:
		return c.failed(fmt.Errorf("status %s", resp.Status), fmt.Sprintf(
			"what answers at %s does not understand this request (HTTP status %d); it is no spated, or one of another version", c.place, resp.StatusCode))
	}
	e := p.farmError(resp.StatusCode)
	if p.Progress != nil {
		return &refusedError{e, *p.Progress}
	}
	return e
}
