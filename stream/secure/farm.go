package secure

import (
	"crypto/hkdf"
	"crypto/sha256"
	"fmt"

	"golang.zx2c4.com/wireguard/device"
)

// MaxGenerations is how many farm secrets are valid at once: the one in use and the one before it.
const MaxGenerations = 2

// Labels of the keys that are derived from a farm secret. A label is never given another meaning.
const (
	labelFarmKey = "spate farm key v1"
	labelTicket  = "spate ticket v1"
	labelPeer    = "spate peers v1"
)

// Farm holds what is derived from the farm secret, which only servers have. It does not change and may be used by any goroutine.
type Farm struct {
	generations []*generation // the newest first
	peer        [KeySize]byte
}

// generation is everything that one farm secret gives.
type generation struct {
	private PrivateKey
	public  PublicKey
	id      KeyID
	tickets []byte // HKDF pseudo-random key that ticket keys are expanded from
	mac1    device.CookieChecker
}

// NewFarm derives the keys of a farm. What is new is made with secret; what was made with the older one is understood, so that
// secrets can be changed while targets run. More than MaxGenerations in all is a mistake of the caller and panics.
func NewFarm(secret [KeySize]byte, older ...[KeySize]byte) *Farm {
	if 1+len(older) > MaxGenerations {
		panic(fmt.Sprintf("secure: %d farm secrets, at most %d are valid at once", 1+len(older), MaxGenerations))
	}
	f := &Farm{generations: []*generation{newGeneration(secret)}}
	for _, s := range older {
		f.generations = append(f.generations, newGeneration(s))
	}
	f.peer = derive(secret[:], nil, labelPeer)
	return f
}

func newGeneration(secret [KeySize]byte) *generation {
	g := &generation{private: PrivateKey(derive(secret[:], nil, labelFarmKey))}
	g.public = g.private.Public()
	g.id = g.public.ID()
	key := derive(secret[:], nil, labelTicket)
	g.tickets = key[:]
	g.mac1.Init(device.NoisePublicKey(g.public))
	return g
}

// Public is the key that targets are given.
func (f *Farm) Public() PublicKey { return f.generations[0].public }

// KeyID names the public key on the wire.
func (f *Farm) KeyID() KeyID { return f.generations[0].id }

// PeerKey encrypts what servers tell one another.
func (f *Farm) PeerKey() [KeySize]byte { return f.peer }

// String hides the keys.
func (*Farm) String() string { return mask }

// GoString hides the keys.
func (*Farm) GoString() string { return mask }

// Format hides the keys from every verb of package fmt.
func (*Farm) Format(s fmt.State, _ rune) { hide(s) }

// MarshalText hides the keys from JSON, YAML and log encoders.
func (*Farm) MarshalText() ([]byte, error) { return []byte(mask), nil }

// byID finds the generation that a target names.
func (f *Farm) byID(id KeyID) *generation {
	for _, g := range f.generations {
		if g.id == id {
			return g
		}
	}
	return nil
}

// derive is HKDF-SHA256 for one key.
func derive(secret, salt []byte, info string) (key [KeySize]byte) {
	b, err := hkdf.Key(sha256.New, secret, salt, info, KeySize)
	if err != nil {
		panic("secure: HKDF of 32 bytes: " + err.Error())
	}
	copy(key[:], b)
	return key
}
