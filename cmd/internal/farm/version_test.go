package farm

import (
	"reflect"
	"testing"

	"github.com/spate-project/spate/loadbalance"
)

// replica makes a replica whose root is all of one byte; roots that differ only in case name the same disk
// stored differently.
func replica(number uint32, root byte, timestamp int64) Replica {
	r := Replica{VDisk: "debian12", Number: number}
	for i := range r.Root {
		r.Root[i], r.Disk[i] = root, root|0x20
	}
	r.Timestamp = timestamp
	return r
}

func holds(server string, live bool, replicas ...Replica) holder {
	h := holder{server, live, map[uint32]Replica{}}
	for _, r := range replicas {
		h.replicas[r.Number] = r
	}
	return h
}

func TestPlainNameIsTheHighestVersionThatAllLiveServersHoldIdentically(t *testing.T) {
	v0, v1, v2 := replica(0, 'A', 10), replica(1, 'B', 11), replica(2, 'C', 12)
	broken := v1
	broken.Problem = "seal damaged"
	fenced := v1
	fenced.Fenced = 3
	type want struct {
		found, whole bool
		number       uint32
		root         byte
		lacking      []Lack
		pending      []Pending
	}
	cases := []struct {
		name    string
		holders []holder
		want    want
	}{
		{"nobody holds anything", []holder{holds("a", true), holds("b", true)}, want{}},
		{"everyone holds one version", []holder{holds("a", true, v0), holds("b", true, v0)}, want{found: true, whole: true, root: 'A'}},
		{"the highest of several", []holder{holds("a", true, v0, v1), holds("b", true, v0, v1)}, want{found: true, whole: true, number: 1, root: 'B'}},
		{"a higher one is pending until all hold it", []holder{holds("a", true, v0, v1, v2), holds("b", true, v0)},
			want{found: true, whole: true, root: 'A', pending: []Pending{{2, []Lack{{"b", "no replica"}}}, {1, []Lack{{"b", "no replica"}}}}}},
		{"a dead server holds nothing back", []holder{holds("a", true, v0, v1), holds("b", false, v0)}, want{found: true, whole: true, number: 1, root: 'B'}},
		{"another timestamp is not identical", []holder{holds("a", true, v0, v1), holds("b", true, v0, replica(1, 'B', 99))},
			want{found: true, whole: true, root: 'A', pending: []Pending{{1, []Lack{{"b", "same content, other timestamp"}}}}}},
		{"the same disk stored differently is not identical", []holder{holds("a", true, v0, v1), holds("b", true, v0, replica(1, 'b', 11))},
			want{found: true, whole: true, root: 'A', pending: []Pending{{1, []Lack{{"b", "same disk, stored differently"}}}}}},
		{"a replica with a problem is not held", []holder{holds("a", true, v0, v1), holds("b", true, v0, broken)},
			want{found: true, whole: true, root: 'A', pending: []Pending{{1, []Lack{{"b", "seal damaged"}}}}}},
		{"fenced chunks do not matter: others are asked for them", []holder{holds("a", true, v0, v1), holds("b", true, v0, fenced)},
			want{found: true, whole: true, number: 1, root: 'B'}},
		{"a server with an empty store does not stop the farm", []holder{holds("a", true, v0, v1), holds("b", true)},
			want{found: true, number: 1, root: 'B', lacking: []Lack{{"b", "no replica"}}}},
		{"of two contents the one that most servers hold counts", []holder{holds("a", true, replica(0, 'X', 1)), holds("b", true, v0), holds("c", true, v0)},
			want{found: true, root: 'A', lacking: []Lack{{"a", "other content, root 5858…58"}}}},
		{"of two equally frequent contents the first server's counts", []holder{holds("a", true, v0), holds("b", true, replica(0, 'X', 1))},
			want{found: true, root: 'A', lacking: []Lack{{"b", "other content, root 5858…58"}}}},
		{"the death of the first server does not make another content right", []holder{holds("a", false, v0), holds("b", true, replica(0, 'X', 1))},
			want{pending: []Pending{{0, []Lack{{"b", "other content, root 5858…58"}}}}}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			o := offered(c.holders)
			got := want{o.Found, o.Whole, o.Number, o.Content.Root[0], o.Lacking, o.Pending}
			if !reflect.DeepEqual(got, c.want) {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
		})
	}
}

func TestReplicasAreComparedByRootAndTimestamp(t *testing.T) {
	want := replica(3, 'A', 5)
	broken := want
	broken.Problem = "unreadable"
	cases := []struct {
		have  []Replica
		state loadbalance.Replica
	}{
		{nil, loadbalance.Missing},
		{[]Replica{replica(2, 'A', 5)}, loadbalance.Missing},
		{[]Replica{want}, loadbalance.Identical},
		{[]Replica{replica(3, 'A', 6)}, loadbalance.OtherTimestamp},
		{[]Replica{replica(3, 'a', 5)}, loadbalance.StoredDifferently},
		{[]Replica{replica(3, 'B', 5)}, loadbalance.OtherContent},
		{[]Replica{broken}, loadbalance.Damaged},
	}
	for _, c := range cases {
		if got := holds("x", true, c.have...).compare(3, want); got != c.state {
			t.Errorf("%+v: got %d, want %d", c.have, got, c.state)
		}
	}
}
