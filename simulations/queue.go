package simulations

import "time"

// event is something that happens at a moment; of two at the same moment the one that was put first comes first.
type event struct {
	at    time.Duration // since Start
	order uint64
	do    func()
}

func (e event) before(o event) bool { return e.at < o.at || e.at == o.at && e.order < o.order }

// queue is a binary heap of events. It is written out, since container/heap allocates for each of millions of events.
type queue struct {
	heap  []event
	order uint64
}

func (q *queue) len() int { return len(q.heap) }

// next is the moment of the first event; the queue must not be empty.
func (q *queue) next() time.Duration { return q.heap[0].at }

func (q *queue) push(at time.Duration, do func()) {
	q.order++
	q.heap = append(q.heap, event{at, q.order, do})
	for i := len(q.heap) - 1; i > 0; {
		up := (i - 1) / 2
		if !q.heap[i].before(q.heap[up]) {
			return
		}
		q.heap[i], q.heap[up] = q.heap[up], q.heap[i]
		i = up
	}
}

func (q *queue) pop() event {
	first, last := q.heap[0], len(q.heap)-1
	q.heap[0], q.heap[last] = q.heap[last], event{}
	q.heap = q.heap[:last]
	for i := 0; ; {
		least := i
		for _, down := range []int{2*i + 1, 2*i + 2} {
			if down < last && q.heap[down].before(q.heap[least]) {
				least = down
			}
		}
		if least == i {
			return first
		}
		q.heap[i], q.heap[least] = q.heap[least], q.heap[i]
		i = least
	}
}
