package choice

import "sync/atomic"

// A Budget allows extra calls, which are retries or hedges, in proportion to calls: each of those earns a share of one. It
// keeps a cell that is in trouble from being called more for it.
type Budget struct {
	earns, cap int64 // thousandths of a call
	have       atomic.Int64
}

// NewBudget returns a Budget of so many thousandths of a call for each one. It holds at most, and begins with, burst.
func NewBudget(thousandths, burst int) *Budget {
	b := &Budget{earns: int64(thousandths), cap: int64(burst) * 1000}
	b.have.Store(b.cap)
	return b
}

// Earn counts a call.
func (b *Budget) Earn() {
	for {
		have := b.have.Load()
		if have >= b.cap || b.have.CompareAndSwap(have, min(b.cap, have+b.earns)) {
			return
		}
	}
}

// Spend takes one extra call if there is one.
func (b *Budget) Spend() bool {
	for {
		have := b.have.Load()
		if have < 1000 {
			return false
		}
		if b.have.CompareAndSwap(have, have-1000) {
			return true
		}
	}
}
