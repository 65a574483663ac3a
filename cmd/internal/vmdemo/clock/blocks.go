package clock

import "encoding/binary"

// The blocks are a file on the vDisk. Every byte of it can be computed, none compresses, and it is larger than the caches of
// a target: what is read from it comes from a server, however often it was read before.
const (
	BlockSize = 64 << 10
	Blocks    = 2048
)

// Fill computes the block of this number into b, which is BlockSize bytes long. No two blocks are alike.
func Fill(b []byte, number int) {
	x := (uint64(number) + 1) * 0x9e3779b97f4a7c15
	for i := 0; i < len(b); i += 8 {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		binary.LittleEndian.PutUint64(b[i:], x)
	}
}

// stride is odd, so that Blocks steps of it, taken modulo Blocks, come to every block once.
const stride = 1237

// order is the number of the i-th block that is read: each once, far from the one before it, and then all again.
func order(i int) int { return i % Blocks * stride % Blocks }
