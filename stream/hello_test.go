package stream

import (
	"math/rand/v2"
	"net"
	"testing"
	"time"

	"github.com/spate-project/spate/stream/secure"
	"github.com/spate-project/spate/stream/wire"
)

// A target that has the key of another farm is told so by the server: it would be left to guess otherwise.
func TestATargetOfAnotherFarmIsToldSo(t *testing.T) {
	f := startFarm(t, 1, 1<<16)
	random := rand.NewChaCha8([32]byte{7})
	device, err := secure.GenerateKey(random)
	if err != nil {
		t.Fatal(err)
	}
	h, err := secure.NewInitiator(random, device, secure.NewFarm([32]byte{8}).Public(), [secure.KeySize]byte{})
	if err != nil {
		t.Fatal(err)
	}
	hello, err := h.Hello(nil, wire.Hello{Index: 77, MinVersion: wire.MinProtocol, MaxVersion: wire.MaxProtocol, Cipher: wire.CipherAES256GCM}, []byte("log-in"))
	if err != nil {
		t.Fatal(err)
	}
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(f.addrs[0]))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write(hello); err != nil {
		t.Fatal(err)
	}
	_ = c.SetReadDeadline(time.Now().Add(30 * time.Second))
	answer := make([]byte, 1500)
	n, err := c.Read(answer)
	if err != nil {
		t.Fatal(err)
	}
	if hint, err := wire.ParseHint(answer[:n]); err != nil || hint.Hint != wire.HintOtherFarm || hint.Receiver != 77 {
		t.Errorf("%+v, %v", hint, err)
	}
}
