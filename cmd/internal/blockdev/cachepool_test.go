package blockdev

import (
	"testing"
	"testing/synctest"
	"time"
)

// A machine that boots has better to do than to fill a reserve that nobody uses yet; for one that writes it grows, and one that has had its
// time has it whole.
func TestTheReserveGrowsWithItsUseAndIsWholeWhenTheMachineHasHadTime(t *testing.T) {
	const second = reserveGrowth * firstReserve
	const slots = reserveGrowth * second
	begin := func(t *testing.T) (p *pool, ready func() int) {
		data, err := newMemory(slots * CacheBlock)
		if err != nil {
			t.Fatal(err)
		}
		if p, err = newPool(data, slots, slots, nil); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { p.release() })
		p.fillLocked()
		ended := make(chan struct{})
		go func() { p.fill(); close(ended) }() // ends with close; waited for below
		t.Cleanup(func() { p.close(); <-ended })
		return p, func() int {
			synctest.Wait()
			p.mu.Lock()
			defer p.mu.Unlock()
			return len(p.ready)
		}
	}
	t.Run("by time", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			_, ready := begin(t)
			if n := ready(); n != firstReserve {
				t.Errorf("%d blocks are ready at first, not %d", n, firstReserve)
			}
			time.Sleep(reserveDelay)
			if n := ready(); n != slots {
				t.Errorf("%d blocks are ready after %v, not %d", n, reserveDelay, slots)
			}
		})
	})
	t.Run("by use", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			p, ready := begin(t)
			ready()
			for range firstReserve/2 - 1 {
				p.take()
			}
			if n := ready(); n != firstReserve/2+1 {
				t.Errorf("%d blocks are ready before half are used", n)
			}
			p.take()
			if n := ready(); n != second {
				t.Errorf("%d blocks are ready when half of the first were used, not %d", n, second)
			}
			for range second / 2 {
				p.take()
			}
			if n, left := ready(), slots-firstReserve/2-second/2; n != left {
				t.Errorf("%d blocks are ready when half of the second were used, not all that are left: %d", n, left)
			}
		})
	})
}
