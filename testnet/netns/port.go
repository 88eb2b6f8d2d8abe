package netns

import (
	"container/heap"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"
)

const (
	// maxQueued bounds what is under way to one host; what is more is lost, as in a router's buffer.
	maxQueued = 16 << 10
	// maxPacket is larger than any packet of a TUN device here (its MTU is 1,500 bytes).
	maxPacket = 64 << 10
)

// port is a host's end of the wire: two goroutines copy packets between its device and the Switch, until close.
type port struct {
	device io.ReadWriteCloser
	wake   chan struct{} // something became due earlier than all before
	done   chan struct{}
	wg     sync.WaitGroup

	mu    sync.Mutex
	queue inFlight
	count uint64
	err   error // the first that a device has given
}

func newPort(s *Switch, device io.ReadWriteCloser) *port {
	p := &port{device: device, wake: make(chan struct{}, 1), done: make(chan struct{})}
	p.wg.Go(func() { p.read(s) })
	p.wg.Go(p.write)
	return p
}

// close ends both goroutines and returns the first error of the device.
func (p *port) close() error {
	close(p.done)
	p.fail(p.device.Close())
	p.wg.Wait()
	return p.err
}

// fail keeps an error, but for those that closing brings about and those of an interface that is down.
func (p *port) fail(err error) {
	if err == nil || errors.Is(err, os.ErrClosed) || errors.Is(err, io.ErrClosedPipe) || errors.Is(err, io.EOF) || errors.Is(err, syscall.EIO) {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err == nil {
		p.err = fmt.Errorf("netns: wire: %w", err)
	}
}

func (p *port) read(s *Switch) {
	buffer := make([]byte, maxPacket)
	for {
		n, err := p.device.Read(buffer)
		if err != nil {
			p.fail(err)
			return
		}
		s.forward(buffer[:n])
	}
}

// deliver hands a copy of data to the host when it is due.
func (p *port) deliver(data []byte, due time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.queue) == maxQueued {
		return
	}
	p.count++
	heap.Push(&p.queue, flying{due, p.count, slices.Clone(data)})
	if p.queue[0].number == p.count {
		select {
		case p.wake <- struct{}{}:
		default:
		}
	}
}

func (p *port) write() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		data, wait := p.next()
		if data != nil {
			_, err := p.device.Write(data)
			p.fail(err)
			continue
		}
		timer.Reset(wait)
		select {
		case <-timer.C:
		case <-p.wake:
		case <-p.done:
			return
		}
	}
}

// next takes the packet that is due, or says how long it will be until there is one.
func (p *port) next() ([]byte, time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.queue) == 0 {
		return nil, time.Hour
	}
	if wait := time.Until(p.queue[0].due); wait > 0 {
		return nil, wait
	}
	return heap.Pop(&p.queue).(flying).data, 0
}

// flying is a packet under way.
type flying struct {
	due    time.Time
	number uint64 // of two that are due at once, the earlier goes first
	data   []byte
}

// inFlight is a heap, the next to arrive on top.
type inFlight []flying

func (q inFlight) Len() int { return len(q) }
func (q inFlight) Less(i, j int) bool {
	if !q[i].due.Equal(q[j].due) {
		return q[i].due.Before(q[j].due)
	}
	return q[i].number < q[j].number
}
func (q inFlight) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *inFlight) Push(x any)   { *q = append(*q, x.(flying)) }
func (q *inFlight) Pop() any {
	last := (*q)[len(*q)-1]
	*q = (*q)[:len(*q)-1]
	return last
}
