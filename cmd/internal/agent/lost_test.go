package agent

import (
	"context"
	"crypto/rand"
	"errors"
	"testing"
	"time"

	"github.com/spate-project/spate/stream/secure"
	"github.com/spate-project/spate/stream/udp"
)

// deaf is a socket that cannot receive any more.
type deaf struct{ udp.Conn }

var errDeaf = errors.New("receive: cannot allocate memory")

func (deaf) ReceiveSpin(*udp.Batch, time.Duration) error { return errDeaf }

// A conversation that ends by itself is told to whom it concerns; one that is closed is not.
func TestAConversationThatEndsByItselfIsNoticed(t *testing.T) {
	key, err := secure.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	start := func(wrap func(udp.Conn) udp.Conn) *Attachment {
		a, err := Start(t.Context(), Options{
			Login: Login{Servers: []string{"127.0.0.1:9"}, FarmKey: key.Public().String(), MAC: "52:54:00:00:00:01"}, Wrap: wrap,
		})
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	a := start(func(c udp.Conn) udp.Conn { return deaf{c} })
	if err := a.Lost(t.Context()); !errors.Is(err, errDeaf) {
		t.Errorf("lost: %v", err)
	}
	if err := a.Close(); !errors.Is(err, errDeaf) {
		t.Errorf("closed: %v", err)
	}
	b := start(nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := b.Lost(ctx); err != nil {
		t.Errorf("it goes on, and is lost: %v", err)
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
	if err := b.Lost(ctx); err != nil {
		t.Errorf("it was closed, and is lost: %v", err)
	}
	if s := b.Servers(); len(s) != 1 || s[0].String() != "127.0.0.1:9" {
		t.Errorf("servers %v", s)
	}
}
