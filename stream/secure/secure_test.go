package secure

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	"github.com/spate-project/spate/stream/wire"
)

// source of randomness that is the same in each run
func seeded(n byte) io.Reader { return rand.NewChaCha8([32]byte{n}) }

func secretOf(n byte) (s [KeySize]byte) {
	_, _ = io.ReadFull(seeded(n), s[:])
	return s
}

var (
	secretNew, secretOld, secretForeign = secretOf(1), secretOf(2), secretOf(3)
	home                                = netip.MustParseAddrPort("192.0.2.7:40000")
	elsewhere                           = netip.MustParseAddrPort("[2001:db8::9]:40000")
	ciphers                             = []wire.Cipher{wire.CipherAES256GCM, wire.CipherChaCha20Poly1305}
)

func deviceKey(t testing.TB) PrivateKey {
	k, err := GenerateKey(seeded(9))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func helloHead(c wire.Cipher) wire.Hello {
	return wire.Hello{Index: 77, MinVersion: wire.MinProtocol, MaxVersion: wire.MaxProtocol, Cipher: c}
}

// hello makes a handshake's first message for a farm key.
func hello(t testing.TB, farm PublicKey, c wire.Cipher, psk [KeySize]byte) (*Initiator, []byte) {
	h, err := NewInitiator(seeded(4), deviceKey(t), farm, psk)
	if err != nil {
		t.Fatal(err)
	}
	datagram, err := h.Hello(nil, helloHead(c), []byte("log me in"))
	if err != nil {
		t.Fatal(err)
	}
	return h, datagram
}

func flip(b []byte, i int) []byte {
	c := bytes.Clone(b)
	c[i] ^= 0x10
	return c
}

// checkSession sends a datagram each way between two sets of keys.
func checkSession(t *testing.T, a, b Keys) {
	t.Helper()
	for _, k := range [][2]Keys{{a, b}, {b, a}} {
		datagram := sealText(NewSealer(k[0].Send, k[0].Cipher), "some frames")
		frames, _, err := NewOpener(k[1].Receive, k[1].Cipher, 64).Open(datagram)
		if err != nil || string(frames) != "some frames" {
			t.Fatalf("%q, %v", frames, err)
		}
	}
	if a.Send == a.Receive {
		t.Fatal("both directions have one key")
	}
}

func sealText(s *Sealer, text string) []byte {
	buf := make([]byte, wire.SealedSize, wire.SealedSize+len(text)+wire.TagSize)
	return s.Seal(append(buf, text...), 5)
}

func TestFarmKeyTextIsReadBack(t *testing.T) {
	for n := range byte(50) {
		k := PrivateKey(secretOf(n)).Public()
		s := k.String()
		for _, text := range []string{s, " " + s + "\n", strings.ToUpper(s)} {
			if got, err := ParseFarmKey(text); err != nil || got != k {
				t.Fatalf("%q: %v, %v", text, got, err)
			}
		}
	}
}

func TestFarmKeyTyposAreTold(t *testing.T) {
	good := PrivateKey(secretNew).Public().String()
	other := "a"
	if good[20] == 'a' {
		other = "b"
	}
	for name, c := range map[string]struct {
		text     string
		problem  KeyProblem
		position int
		says     string
	}{
		"empty":            {"", KeyNoPrefix, 0, "spate1"},
		"other prefix":     {"wrong1" + good[6:], KeyNoPrefix, 0, "spate1"},
		"cut":              {good[:40], KeyTooShort, 0, "40 characters instead of 62"},
		"one missing":      {good[:30] + good[31:], KeyTooShort, 0, "61 characters"},
		"one too many":     {good + "a", KeyTooLong, 0, "63 characters"},
		"digit of no key":  {good[:10] + "0" + good[11:], KeyWrongCharacter, 11, "position 11"},
		"letter of others": {good[:61] + "é", KeyWrongCharacter, 62, "position 62"},
		"space inside":     {good[:20] + " " + good[20:], KeyWrongCharacter, 21, "position 21"},
		"mistyped":         {good[:20] + other + good[21:], KeyChecksum, 0, "mistyped"},
	} {
		_, err := ParseFarmKey(c.text)
		var e *KeyError
		if !errors.As(err, &e) || e.Problem != c.problem || e.Position != c.position || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestEverySingleMistypedCharacterIsNoticed(t *testing.T) {
	good := PrivateKey(secretNew).Public().String()
	for i := range good {
		for _, c := range farmKeyAlphabet + "0189" {
			text := good[:i] + string(c) + good[i+1:]
			if _, err := ParseFarmKey(text); err == nil && text != good {
				t.Errorf("%q is accepted", text)
			}
		}
	}
}

// What one label gives tells nothing about another: all derived keys differ, between labels and between farms.
func TestDerivedKeysAreAllDifferent(t *testing.T) {
	seen := make(map[[KeySize]byte]bool)
	for n := range byte(20) {
		f := NewFarm(secretOf(n))
		g := f.generations[0]
		for _, k := range [][KeySize]byte{[KeySize]byte(g.private), [KeySize]byte(g.public), f.peer, [KeySize]byte(g.tickets), secretOf(n)} {
			if seen[k] {
				t.Fatal("a key appears twice")
			}
			seen[k] = true
		}
	}
}

func TestFarmUsesItsNewestSecret(t *testing.T) {
	f := NewFarm(secretNew, secretOld)
	if only := NewFarm(secretNew); f.Public() != only.Public() || f.KeyID() != only.KeyID() || f.PeerKey() != only.PeerKey() {
		t.Error("a farm with an older secret shows other keys")
	}
	defer func() {
		if recover() == nil {
			t.Error("three secrets are accepted")
		}
	}()
	NewFarm(secretNew, secretOld, secretForeign)
}

// Secrets print as a mask, whatever the verb and however deep they lie.
func TestSecretsAreNeverPrinted(t *testing.T) {
	f := NewFarm(secretNew)
	h, datagram := hello(t, f.Public(), wire.CipherAES256GCM, secretOf(5))
	r, err := f.OpenHello(datagram)
	if err != nil {
		t.Fatal(err)
	}
	_, keys, err := r.Welcome(seeded(6), nil, wire.Welcome{Index: 1}, secretOf(5), nil)
	if err != nil {
		t.Fatal(err)
	}
	flight, err := NewFlight(seeded(7), f.Public(), wire.Resume{Cipher: wire.CipherAES256GCM}, make([]byte, TicketSize), secretNew, nil)
	if err != nil {
		t.Fatal(err)
	}
	ticket := Ticket{Secret: secretNew}
	for _, v := range []any{
		deviceKey(t), keys, f, h, r, ticket, flight, NewSealer(keys.Send, keys.Cipher), NewOpener(keys.Receive, keys.Cipher, 64),
		&keys, &ticket, struct{ K Keys }{keys}, []Ticket{ticket}, Resumption{Ticket: ticket}, map[string]PrivateKey{"k": deviceKey(t)},
	} {
		secrets := [][KeySize]byte{secretNew, f.peer, keys.Send, keys.Receive, [KeySize]byte(deviceKey(t)), [KeySize]byte(f.generations[0].private)}
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%X", "%d", "%q", "%o", "%b"} {
			checkMasked(t, v, fmt.Sprintf(verb, v), verb, secrets)
		}
		if b, err := json.Marshal(v); err == nil {
			checkMasked(t, v, string(b), "json", secrets)
		}
	}
}

func checkMasked(t *testing.T, v any, text, how string, secrets [][KeySize]byte) {
	for _, s := range secrets {
		for _, verb := range []string{"%x", "%X", "%d", "%o", "%b", "%#v"} {
			full := strings.Trim(fmt.Sprintf(verb, s[:4]), "[]")
			full = strings.TrimSuffix(strings.TrimPrefix(full, "[]byte{"), "}")
			for _, leak := range []string{full, strings.ReplaceAll(full, " ", ",")} {
				if strings.Contains(text, leak) {
					t.Errorf("%T printed by %s shows a secret: %s", v, how, text)
					return
				}
			}
		}
	}
}

// A hint is shorter than its cause, names what the cause named, and never answers a hint or anything else that could echo for ever.
func TestHintsAnswerOnlyWhatTheyMay(t *testing.T) {
	f := NewFarm(secretNew)
	_, first := hello(t, f.Public(), wire.CipherAES256GCM, [KeySize]byte{})
	flight, _ := NewFlight(seeded(7), f.Public(), wire.Resume{Index: 78, Cipher: wire.CipherAES256GCM}, make([]byte, TicketSize), secretNew, nil)
	sealer := NewSealer(secretNew, wire.CipherAES256GCM)
	sealText(sealer, "")
	otherWire := bytes.Clone(first)
	otherWire[3] = 9
	causes := map[string][]byte{
		"hello": first, "hello of another wire version": otherWire, "resume": flight.Again(nil), "sealed": sealText(sealer, "x"),
		"sealed, cut": sealText(sealer, "x")[:wire.SealedSize], "welcome": wire.Welcome{}.Append(nil), "cookie": wire.Cookie{}.Append(nil),
		"hint": wire.Hint{Hint: wire.HintUnknownSession}.Append(nil), "nothing": nil, "noise": []byte("GET / HTTP/1.1\r\n\r\n                "),
	}
	allowed := map[string]wire.Hint{
		"hello 1":                         {Receiver: 77, Hint: wire.HintVersion},
		"hello of another wire version 1": {Receiver: 77, Hint: wire.HintVersion},
		"hello 2":                         {Receiver: 77, Hint: wire.HintOtherFarm},
		"hello of another wire version 2": {Receiver: 77, Hint: wire.HintOtherFarm},
		"resume 1":                        {Receiver: 78, Hint: wire.HintVersion},
		"resume 4":                        {Receiver: 78, Hint: wire.HintTicketRefused},
		"sealed 3":                        {Receiver: 5, Hint: wire.HintUnknownSession, Counter: 1},
	}
	for name, cause := range causes {
		for code := range wire.HintCode(9) {
			got := AppendHint([]byte("before"), cause, code)
			want, ok := allowed[fmt.Sprintf("%s %d", name, code)]
			if !ok {
				if string(got) != "before" {
					t.Errorf("%s is answered by hint %v", name, code)
				}
				continue
			}
			want.MinVersion, want.MaxVersion = wire.MinProtocol, wire.MaxProtocol
			hint, err := wire.ParseHint(got[len("before"):])
			if err != nil || hint != want || len(got)-len("before") > len(cause) {
				t.Errorf("%s, hint %v: %+v, %v", name, code, hint, err)
			}
		}
	}
}
