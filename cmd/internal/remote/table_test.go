package remote

import (
	"maps"
	"math/rand/v2"
	"testing"
)

// A table does what a map does, also when its entries come and go for ever.
func TestTableIsAMap(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var tab table[int]
	want := map[key]int{}
	for i := range 200_000 {
		k := objectKey(rng.IntN(2), rng.Int64N(1<<(1+rng.IntN(12))))
		switch rng.IntN(5) {
		case 0, 1:
			tab.put(k, i)
			want[k] = i
		case 2, 3:
			tab.del(k)
			delete(want, k)
		}
		got, ok := tab.get(k)
		if w, has := want[k]; ok != has || got != w {
			t.Fatalf("step %d: key %d is %d, %v; want %d, %v", i, k, got, ok, w, has)
		}
	}
	got := map[key]int{}
	for i, k := range tab.keys {
		if k != 0 {
			got[k-1] = tab.vals[i]
		}
	}
	if !maps.Equal(got, want) || tab.n != len(want) {
		t.Errorf("%d entries, want %d", len(got), len(want))
	}
}
