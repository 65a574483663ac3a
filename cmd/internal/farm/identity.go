package farm

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
)

// Digest is a hash of 32 bytes: of a farm file (as sha256sum prints it), of an inventory, or the Merkle root of
// a version.
type Digest [32]byte

// String is the digest in hex.
func (d Digest) String() string { return hex.EncodeToString(d[:]) }

// Short is enough of the digest to tell two apart by eye.
func (d Digest) Short() string { return fmt.Sprintf("%x…%x", d[:2], d[len(d)-1:]) }

// MarshalText writes what String returns.
func (d Digest) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (d *Digest) UnmarshalText(b []byte) error { return unhex(d[:], b) }

// MAC is the hardware address by which a device is known.
type MAC [6]byte

// ParseMAC reads six pairs of hex digits with colons or dashes between them, or none.
func ParseMAC(s string) (MAC, error) {
	var m MAC
	digits := s
	if len(s) == 17 {
		digits = strings.NewReplacer(":", "", "-", "").Replace(s)
	}
	if err := unhex(m[:], []byte(digits)); err != nil {
		return MAC{}, fmt.Errorf("%q is no MAC address; one looks like 52:54:00:12:34:56", s)
	}
	if !m.single() {
		return MAC{}, fmt.Errorf("%q is the MAC address of a group or of nobody", s)
	}
	return m, nil
}

// single tells whether the address can be that of one device.
func (m MAC) single() bool { return m[0]&1 == 0 && m != MAC{} }

// String is the address as everyone writes it.
func (m MAC) String() string {
	return fmt.Sprintf("%02x:%02x:%02x:%02x:%02x:%02x", m[0], m[1], m[2], m[3], m[4], m[5])
}

// MarshalText writes what String returns.
func (m MAC) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// UnmarshalText reads what MarshalText writes, whatever the address: what a program lists, another one must be able to read.
func (m *MAC) UnmarshalText(b []byte) error {
	return unhex(m[:], []byte(strings.ReplaceAll(string(b), ":", "")))
}

// DeviceKey is the public key of a device. It is no secret.
type DeviceKey [32]byte

// ParseDeviceKey reads what String writes.
func ParseDeviceKey(s string) (DeviceKey, error) {
	var k DeviceKey
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil || len(b) != len(k) {
		return DeviceKey{}, fmt.Errorf("%q is no device key; spate-target prints its own", s)
	}
	copy(k[:], b)
	return k, nil
}

// String is the key in 43 letters, digits, '-' and '_'.
func (k DeviceKey) String() string { return base64.RawURLEncoding.EncodeToString(k[:]) }

// MarshalText writes what String returns.
func (k DeviceKey) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText reads what ParseDeviceKey reads.
func (k *DeviceKey) UnmarshalText(b []byte) (err error) {
	*k, err = ParseDeviceKey(string(b))
	return err
}

// ParseWanted reads NAME or NAME@VERSION.
func ParseWanted(s string) (Wanted, error) {
	name, version, fixed := strings.Cut(s, "@")
	if err := checkName(name); err != nil {
		return Wanted{}, err
	}
	if !fixed {
		return Wanted{Name: name}, nil
	}
	n, err := strconv.ParseUint(version, 10, 32)
	if err != nil || uint32(n) > maxVersion || strconv.FormatUint(n, 10) != version {
		return Wanted{}, fmt.Errorf("%q: after the @ stands a version number such as 3", s)
	}
	return Wanted{name, uint32(n), true}, nil
}

// MarshalText writes what String returns.
func (w Wanted) MarshalText() ([]byte, error) { return []byte(w.String()), nil }

// UnmarshalText reads what ParseWanted reads.
func (w *Wanted) UnmarshalText(b []byte) (err error) {
	*w, err = ParseWanted(string(b))
	return err
}

// maxVersion is the highest version number; the one above it means the newest on the wire.
const maxVersion = 1<<32 - 2

// checkName says whether a name can stand in file names, command lines and log lines alike.
func checkName(s string) error {
	if s == "" || len(s) > maxNameBytes {
		return fmt.Errorf("%q: a name has 1 to %d characters", s, maxNameBytes)
	}
	for i := range len(s) {
		c := s[i]
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !letter && (i == 0 || c != '.' && c != '_' && c != '-') {
			return fmt.Errorf("%q: a name is letters, digits, '.', '_', '-', and begins with a letter or digit", s)
		}
	}
	return nil
}

// unhex fills dst from exactly as many hex digits as it needs.
func unhex(dst, digits []byte) error {
	if len(digits) != hex.EncodedLen(len(dst)) {
		return fmt.Errorf("%d hex digits are wanted, not %d", hex.EncodedLen(len(dst)), len(digits))
	}
	_, err := hex.Decode(dst, digits)
	return err
}
