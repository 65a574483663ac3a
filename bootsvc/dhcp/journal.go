package dhcp

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spate-project/spate/bootsvc"
)

// The journal is a text file, one record a line: CRC-32C of what follows in hex, a space, the lease as JSON. A record is the state of one
// address; the last one counts. A line that does not check is what a crash has left, at the end, or damage: it is left out
// and counted.

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// record is a lease as it stands in the file.
type record struct {
	lease
	MAC string `json:"mac"`
}

func appendRecord(b []byte, l lease) []byte {
	l.Until = l.Until.UTC().Round(0)
	text, err := json.Marshal(record{l, l.MAC.String()})
	if err != nil {
		return b // a lease is made of plain values: a year past 9999 is what JSON cannot write
	}
	b = fmt.Appendf(b, "%08x ", crc32.Checksum(text, castagnoli))
	return append(append(b, text...), '\n')
}

var errRecord = errors.New("damaged record")

func parseRecord(line []byte) (lease, error) {
	var r record
	sum, text, ok := bytes.Cut(line, []byte{' '})
	var want [4]byte
	if n, err := hex.Decode(want[:], cutBytes(sum, 8)); !ok || err != nil || n != 4 || len(sum) != 8 {
		return lease{}, errRecord
	}
	if got := crc32.Checksum(text, castagnoli); [4]byte{byte(got >> 24), byte(got >> 16), byte(got >> 8), byte(got)} != want {
		return lease{}, errRecord
	}
	if err := json.Unmarshal(text, &r); err != nil || !r.Addr.Is4() {
		return lease{}, errRecord
	}
	mac, err := bootsvc.ParseMAC(r.MAC)
	if err != nil {
		return lease{}, errRecord
	}
	r.lease.MAC = mac
	switch r.State {
	case stateHeld, stateNoted, stateReleased, stateDeclined:
		return r.lease, nil
	default:
		return lease{}, errRecord
	}
}

func cutBytes(b []byte, most int) []byte { return b[:min(len(b), most)] }

// readJournal reads records until the end; bad is how many lines were left out.
func readJournal(r io.Reader) (all []lease, bad int, err error) {
	s := bufio.NewScanner(io.LimitReader(r, maxRecords*maxRecord))
	s.Buffer(make([]byte, 0, maxRecord), maxRecord)
	s.Split(recordLines)
	for s.Scan() {
		l, err := parseRecord(s.Bytes())
		if err != nil {
			bad++
			continue
		}
		all = append(all, l)
	}
	return all, bad, s.Err()
}

// recordLines cuts lines, and what is too long for a record into pieces that are none: behind a block of zeros, as a crash leaves them,
// the records go on with the next line.
func recordLines(data []byte, end bool) (n int, line []byte, err error) {
	if n, line, err = bufio.ScanLines(data, end); n == 0 && len(data) >= maxRecord {
		return len(data), data, nil
	}
	return n, line, err
}

// journal is the open file. It belongs to one goroutine.
type journal struct {
	path    string
	file    *os.File
	buffer  []byte
	records int // in the file
	// short tells that the file lacks records that are not in the buffer either.
	short bool
}

// openJournal reads the file and writes it anew with what still counts, so that it grows only while the service runs. An
// empty path gives a journal that keeps nothing.
func openJournal(path string, current func([]lease) []lease) (j *journal, bad int, err error) {
	j = &journal{path: path}
	if path == "" {
		return j, 0, nil
	}
	f, err := os.Open(path)
	var all []lease
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, 0, fmt.Errorf("leases: %w", err)
	default:
		all, bad, err = readJournal(f)
		f.Close()
		if err != nil {
			return nil, 0, fmt.Errorf("leases: read %s: %w", path, err)
		}
	}
	if err := j.rewrite(current(all)); err != nil {
		return nil, bad, err
	}
	return j, bad, nil
}

func (j *journal) add(l lease) {
	if j.path == "" {
		return
	}
	if len(j.buffer) > maxUnstored {
		j.buffer, j.short = nil, true
	}
	j.buffer = appendRecord(j.buffer, l)
	j.records++
}

// flush stores what was added. After an error the records are kept for the next try.
func (j *journal) flush() error {
	if len(j.buffer) == 0 {
		return nil
	}
	n, err := j.file.Write(j.buffer)
	j.buffer = j.buffer[:copy(j.buffer, j.buffer[n:])]
	if err == nil {
		err = j.file.Sync()
		j.short = j.short || err != nil // what did not reach the disk is not in the buffer any more
	}
	if err != nil {
		return fmt.Errorf("leases: write %s: %w", j.path, err)
	}
	return nil
}

// long tells that the file must be written anew: most of it is out of date, or something is missing.
func (j *journal) long(live int) bool { return j.short || j.path != "" && j.records > 4*live+1024 }

// rewrite replaces the file by one that holds these leases alone.
func (j *journal) rewrite(all []lease) (err error) {
	if j.path == "" {
		return nil
	}
	var b []byte
	for _, l := range all {
		b = appendRecord(b, l)
	}
	next, err := os.OpenFile(j.path+".new", os.O_CREATE|os.O_TRUNC|os.O_WRONLY|os.O_APPEND, 0o640)
	if err != nil {
		return fmt.Errorf("leases: %w", err)
	}
	_, err = next.Write(b)
	if err = errors.Join(err, next.Sync()); err == nil {
		err = os.Rename(next.Name(), j.path)
	}
	if err == nil {
		err = syncFolder(filepath.Dir(j.path))
	}
	if err != nil {
		next.Close()
		return fmt.Errorf("leases: write %s: %w", j.path, err)
	}
	if j.file != nil {
		j.file.Close() // its content is in next
	}
	j.file, j.buffer, j.records, j.short = next, j.buffer[:0], len(all), false
	return nil
}

func syncFolder(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

func (j *journal) close() error {
	if j.file == nil {
		return nil
	}
	return errors.Join(j.flush(), j.file.Close())
}
