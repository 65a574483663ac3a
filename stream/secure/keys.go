package secure

import (
	"crypto/ecdh"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base32"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spate-project/spate/stream/wire"
)

// KeySize is the size of every key here, in bytes.
const KeySize = 32

// mask is what is printed instead of a secret.
const mask = "(secret)"

// PublicKey is an X25519 public key, of a farm or of a device.
type PublicKey [KeySize]byte

// PrivateKey is an X25519 private key. It is never printed.
type PrivateKey [KeySize]byte

// KeyID names a farm key on the wire.
type KeyID [wire.KeyIDSize]byte

// ServerID names a server, in referrals and in the keys of resumed sessions.
type ServerID [wire.ServerIDSize]byte

// String is the id in hexadecimal digits.
func (k KeyID) String() string { return fmt.Sprintf("%x", k[:]) }

// String is the id in hexadecimal digits.
func (s ServerID) String() string { return fmt.Sprintf("%x", s[:]) }

// GenerateKey draws a private key.
func GenerateKey(rng io.Reader) (PrivateKey, error) {
	var k PrivateKey
	if _, err := io.ReadFull(rng, k[:]); err != nil {
		return PrivateKey{}, fmt.Errorf("draw a private key: %w", err)
	}
	return k, nil
}

// Public is the public key of k.
func (k PrivateKey) Public() PublicKey {
	p, err := ecdh.X25519().NewPrivateKey(k[:])
	if err != nil {
		panic("secure: X25519 takes any 32 bytes: " + err.Error())
	}
	return PublicKey(p.PublicKey().Bytes())
}

// String hides the key.
func (PrivateKey) String() string { return mask }

// GoString hides the key.
func (PrivateKey) GoString() string { return mask }

// Format hides the key from every verb of package fmt.
func (PrivateKey) Format(f fmt.State, _ rune) { hide(f) }

// MarshalText hides the key from JSON, YAML and log encoders.
func (PrivateKey) MarshalText() ([]byte, error) { return []byte(mask), nil }

func hide(w io.Writer) { _, _ = io.WriteString(w, mask) }

// ID names the key on the wire: the first 8 bytes of a SHA-256 over a label and the key.
func (p PublicKey) ID() KeyID {
	sum := sha256.Sum256(append([]byte("spate key id v1\x00"), p[:]...))
	return KeyID(sum[:wire.KeyIDSize])
}

// Equal compares in constant time.
func (p PublicKey) Equal(q PublicKey) bool { return subtle.ConstantTimeCompare(p[:], q[:]) == 1 }

// The printable form: prefix, then 32 bytes of key and 3 bytes of checksum in base32, which is 56 characters without padding and
// without unused bits, so that each key has one form.
const (
	farmKeyPrefix   = "spate1"
	farmKeyChecksum = 3
	farmKeyDigits   = (KeySize + farmKeyChecksum) * 8 / 5
	farmKeyLength   = len(farmKeyPrefix) + farmKeyDigits
	farmKeyAlphabet = "abcdefghijklmnopqrstuvwxyz234567"
)

var farmKeyEncoding = base32.NewEncoding(farmKeyAlphabet).WithPadding(base32.NoPadding)

func farmKeySum(p PublicKey) (sum [farmKeyChecksum]byte) {
	full := sha256.Sum256(append([]byte("spate key text v1\x00"), p[:]...))
	copy(sum[:], full[:])
	return sum
}

// String is the printable form, which ParseFarmKey reads.
func (p PublicKey) String() string {
	sum := farmKeySum(p)
	return farmKeyPrefix + farmKeyEncoding.EncodeToString(append(p[:len(p):len(p)], sum[:]...))
}

// KeyProblem is a class of mistakes in a farm key that a person typed or pasted.
type KeyProblem uint8

// The mistakes.
const (
	KeyNoPrefix       KeyProblem = iota + 1 // does not begin with "spate1"
	KeyTooShort                             // characters are missing
	KeyTooLong                              // characters are too many
	KeyWrongCharacter                       // a character that no key has
	KeyChecksum                             // all looks right, but some character is another one
)

// KeyError says what is wrong with the text of a farm key.
type KeyError struct {
	Problem  KeyProblem
	Position int // of the wrong character, from 1
	Length   int // in characters, as given
}

// Error says what is wrong, and where.
func (e *KeyError) Error() string {
	switch e.Problem {
	case KeyNoPrefix:
		return "farm key: does not begin with \"" + farmKeyPrefix + "\"; copy it from `spate keygen --public`"
	case KeyTooShort:
		return fmt.Sprintf("farm key: too short, %d characters instead of %d; part of it is missing", e.Length, farmKeyLength)
	case KeyTooLong:
		return fmt.Sprintf("farm key: too long, %d characters instead of %d", e.Length, farmKeyLength)
	case KeyWrongCharacter:
		return "farm key: wrong character at position " + strconv.Itoa(e.Position) + "; keys have the letters a to z and the digits 2 to 7"
	default:
		return "farm key: checksum does not fit, a character is mistyped"
	}
}

// ParseFarmKey reads the printable form of a public key. Capital letters and space around it are accepted. Errors are *KeyError.
func ParseFarmKey(s string) (PublicKey, error) {
	s = strings.ToLower(strings.TrimSpace(s))
	length := len([]rune(s))
	if !strings.HasPrefix(s, farmKeyPrefix) {
		return PublicKey{}, &KeyError{Problem: KeyNoPrefix, Length: length}
	}
	position := 0
	for _, c := range s {
		position++
		if position > len(farmKeyPrefix) && !strings.ContainsRune(farmKeyAlphabet, c) {
			return PublicKey{}, &KeyError{Problem: KeyWrongCharacter, Position: position, Length: length}
		}
	}
	switch {
	case length < farmKeyLength:
		return PublicKey{}, &KeyError{Problem: KeyTooShort, Length: length}
	case length > farmKeyLength:
		return PublicKey{}, &KeyError{Problem: KeyTooLong, Length: length}
	}
	b, err := farmKeyEncoding.DecodeString(s[len(farmKeyPrefix):])
	if err != nil || len(b) != KeySize+farmKeyChecksum {
		return PublicKey{}, &KeyError{Problem: KeyChecksum, Length: length}
	}
	p := PublicKey(b[:KeySize])
	sum := farmKeySum(p)
	if subtle.ConstantTimeCompare(sum[:], b[KeySize:]) != 1 {
		return PublicKey{}, &KeyError{Problem: KeyChecksum, Length: length}
	}
	return p, nil
}

// Keys are the two keys of a session and the cipher that uses them. They are never printed.
type Keys struct {
	Send, Receive [KeySize]byte
	Cipher        wire.Cipher
}

// String hides the keys.
func (Keys) String() string { return mask }

// GoString hides the keys.
func (Keys) GoString() string { return mask }

// Format hides the keys from every verb of package fmt.
func (Keys) Format(f fmt.State, _ rune) { hide(f) }

// MarshalText hides the keys from JSON, YAML and log encoders.
func (Keys) MarshalText() ([]byte, error) { return []byte(mask), nil }
