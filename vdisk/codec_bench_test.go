package vdisk

import (
	"flag"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/spate-project/spate/vdisk/tree"
)

var benchImage = flag.String("image", "", "disk image to measure chunk sizes and codecs on, for BenchmarkTrade")

// BenchmarkTrade measures what chunk sizes and codecs are worth on a real image, one core, and prints a table:
//
//	go test ./vdisk -run ^$ -bench Trade -benchtime 1x -args -image disk.img
func BenchmarkTrade(b *testing.B) {
	if *benchImage == "" {
		b.Skip("needs -args -image FILE")
	}
	disk, err := os.ReadFile(*benchImage)
	if err != nil {
		b.Fatal(err)
	}
	fmt.Printf("%-10s %6s  %6s  %9s  %9s  %6s  %6s  %7s\n", "codec", "KiB", "ratio", "enc MB/s", "dec MB/s", "zero %", "raw %", "dec µs")
	for _, codec := range []tree.Codec{tree.CodecZstd, tree.CodecZstdFast, tree.CodecS2, tree.CodecS2Better, tree.CodecNone} {
		for chunk := 4 << 10; chunk <= 256<<10; chunk *= 2 {
			trade(b, disk, codec, chunk)
		}
	}
}

// trade measures every eighth MiB of the disk.
func trade(b *testing.B, disk []byte, codec tree.Codec, chunk int) {
	enc, err := tree.NewEncoder(codec)
	if err != nil {
		b.Fatal(err)
	}
	dec, err := tree.NewDecoder()
	if err != nil {
		b.Fatal(err)
	}
	defer dec.Close()
	var entries []tree.Entry
	var stored [][]byte
	var lengths []int
	var logical, bytes, zero, raw int
	var encoding, decoding time.Duration
	for at := 0; at+1<<20 <= len(disk); at += 8 << 20 {
		for off := at; off < at+1<<20; off += chunk {
			began := time.Now()
			e, s := enc.Encode(nil, disk[off:off+chunk])
			spent := time.Since(began)
			if e.Kind == tree.Zero {
				zero++
				continue
			}
			if e.Kind == tree.Raw {
				raw++
			}
			encoding += spent
			logical += chunk
			bytes += len(s)
			entries, stored, lengths = append(entries, e), append(stored, s), append(lengths, chunk)
		}
	}
	dst := make([]byte, chunk)
	began := time.Now()
	for i, e := range entries {
		if err := dec.Decode(dst[:lengths[i]], e, stored[i]); err != nil {
			b.Fatal(err)
		}
	}
	decoding = time.Since(began)
	all := float64(len(entries) + zero)
	fmt.Printf("%-10v %6d  %6.2f  %9.0f  %9.0f  %6.1f  %6.1f  %7.1f\n", codec, chunk>>10, float64(logical)/float64(bytes),
		float64(logical)/1e6/encoding.Seconds(), float64(logical)/1e6/decoding.Seconds(), 100*float64(zero)/all,
		100*float64(raw)/all, float64(decoding.Microseconds())/float64(len(entries)))
}
