package admin

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"errors"
	"fmt"
	stdlog "log"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"go.uber.org/zap"

	"github.com/spate-project/spate/cmd/internal/keyfile"
	"github.com/spate-project/spate/cmd/internal/logging"
)

// guard lets requests pass that carry the token of a file. The file is read for each request, so that a new
// token counts at once; requests of administrators are few.
func guard(tokenFile string, log *zap.Logger, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		key, err := keyfile.Read(tokenFile)
		if err != nil {
			log.Error("the token of the admin API cannot be read, nobody can log in", zap.Error(err))
			refuse(w, http.StatusInternalServerError, "the server cannot read its token file; its log says more")
			return
		}
		want := sha256.Sum256([]byte(keyfile.Text(key)))
		scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		got := sha256.Sum256([]byte(token))
		if !strings.EqualFold(scheme, "Bearer") || subtle.ConstantTimeCompare(want[:], got[:]) != 1 {
			log.Warn("a request without the right token", zap.String(logging.KeyAddr, r.RemoteAddr))
			w.Header().Set("WWW-Authenticate", `Bearer realm="spate"`)
			refuse(w, http.StatusUnauthorized, "a bearer token is needed, the one in the server's token file")
			return
		}
		next.ServeHTTP(w, r)
	})
}

// sturdy keeps a mistake of ours in one request from being more than that, and logs it as what it is.
func sturdy(log *zap.Logger, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			if mistake := recover(); mistake != nil {
				log.Error("a request failed", zap.String("request", r.URL.Path), zap.Any(logging.KeyReason, mistake), zap.Stack("stack"))
				panic(http.ErrAbortHandler)
			}
		}()
		next.ServeHTTP(w, r)
	})
}

// quiet takes what net/http has to say, which is mostly about clients that do not speak TLS.
func quiet(log *zap.Logger) *stdlog.Logger {
	l, err := zap.NewStdLogAt(log, zap.DebugLevel)
	if err != nil {
		panic(err) // of an unknown level only
	}
	return l
}

func refuse(w http.ResponseWriter, status int, text string) {
	writeProblem(w, &problem{ErrorModel: huma.ErrorModel{Title: http.StatusText(status), Status: status, Detail: text}})
}

// certificate is a pair of files that is read again when one of them has changed, because certificates are
// renewed while a server runs.
type certificate struct {
	files [2]string // certificate and private key
	log   *zap.Logger

	mu    sync.Mutex // guards the fields below
	pair  *tls.Certificate
	times [2]time.Time
}

func newCertificate(file, key string, log *zap.Logger) (*certificate, error) {
	c := &certificate{files: [2]string{file, key}, log: log}
	return c, c.load()
}

// load reads the files again if they have changed.
func (c *certificate) load() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	var times [2]time.Time
	for i, file := range c.files {
		info, err := os.Stat(file)
		if err != nil {
			return fmt.Errorf("certificate of the admin API: %w", err)
		}
		times[i] = info.ModTime()
	}
	if times == c.times {
		return nil
	}
	pair, err := tls.LoadX509KeyPair(c.files[0], c.files[1])
	if err != nil {
		return fmt.Errorf("certificate of the admin API, %s with private key %s: %w", c.files[0], c.files[1], err)
	}
	c.pair, c.times = &pair, times
	return nil
}

// get is for tls.Config. A pair that cannot be read leaves the old one in use.
func (c *certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	if err := c.load(); err != nil {
		c.log.Warn("the old certificate stays in use", zap.Error(err))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.pair == nil {
		return nil, errors.New("no certificate")
	}
	return c.pair, nil
}

type askerKey struct{}

// withAsker notes in the context of a connection who is at its other end.
func withAsker(ctx context.Context, c net.Conn) context.Context {
	who := c.RemoteAddr().String()
	if u, ok := c.(*net.UnixConn); ok {
		who = userOf(u)
	}
	return context.WithValue(ctx, askerKey{}, who)
}

// asker says who sent a request, for the log.
func asker(ctx context.Context) string {
	who, _ := ctx.Value(askerKey{}).(string)
	return who
}
