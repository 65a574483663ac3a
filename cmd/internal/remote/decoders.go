package remote

import (
	"sync"

	"github.com/spate-project/spate/vdisk/tree"
)

// decoderPool keeps decoders, the one used last first, and makes more up to a limit: decoding is work for processors, so
// that more than some of them at once would only wait for one another.
type decoderPool struct {
	mu    sync.Mutex
	free  []*tree.Decoder // guarded by mu
	made  int             // guarded by mu
	limit int
	given sync.Cond
}

func (p *decoderPool) init(limit int) error {
	p.limit, p.given.L = limit, &p.mu
	p.free = make([]*tree.Decoder, 0, limit)
	dec, err := tree.NewDecoder()
	if err != nil {
		return err
	}
	p.free, p.made = append(p.free, dec), 1
	return nil
}

func (p *decoderPool) get() *tree.Decoder {
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		if dec := p.popLocked(); dec != nil {
			return dec
		}
		if p.made < p.limit {
			if dec, err := tree.NewDecoder(); err == nil {
				p.made++
				return dec
			}
		}
		p.given.Wait()
	}
}

// tryGet gives nil when all decoders are in use.
func (p *decoderPool) tryGet() *tree.Decoder {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.popLocked()
}

func (p *decoderPool) popLocked() *tree.Decoder {
	n := len(p.free)
	if n == 0 {
		return nil
	}
	dec := p.free[n-1]
	p.free = p.free[:n-1]
	return dec
}

func (p *decoderPool) put(dec *tree.Decoder) {
	p.mu.Lock()
	p.free = append(p.free, dec)
	p.mu.Unlock()
	p.given.Signal()
}

func (p *decoderPool) close() {
	for _, dec := range p.free {
		dec.Close()
	}
	p.free = nil
}
