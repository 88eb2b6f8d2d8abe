package main

import (
	"fmt"
	"time"

	"github.com/cellnode/cellnode/simulations"
)

// row is one line of the table: a cell, its links, and what goes wrong in it.
type row struct {
	name string
	n    int
	loss float64
	play func(*run)
	// strangers begin knowing one of them and nobody else, at the same moment. In all other rows the members know each
	// other, and links and slots have had 20 s to settle.
	strangers bool
}

// rows lists what the study measures, by the size of the cell.
func rows() []row {
	var out []row
	for _, n := range []int{64, 1000, 10000} {
		add := func(what string, loss int, play func(*run)) {
			out = append(out, row{name: fmt.Sprintf("%s, N=%d, loss %d %%", what, n, loss), n: n, loss: float64(loss) / 100, play: play})
		}
		for _, loss := range []int{0, 5, 20, 40} {
			add("idle", loss, (*run).idle)
			add("one crash", loss, func(r *run) { r.kills(5) })
		}
		for _, share := range []int{10, 30, 50} {
			add(fmt.Sprintf("%d %% crash", share), 0, func(r *run) { r.crash(n * share / 100) })
		}
		add("partition of 60 s", 0, (*run).partition)
		add("A hears B, not B A", 0, (*run).oneWay)
		add("a member pauses 1 s", 0, (*run).pauses)
		add("30 % restart in 10 s", 0, (*run).restarts)
		add("30 % lie", 0, (*run).liars)
		add("all start at once", 0, (*run).start)
		out[len(out)-1].strangers = true
		for _, loss := range []int{5, 20} {
			add("exposure", loss, (*run).exposure)
		}
	}
	return out
}

// run is one row played with one seed.
type run struct {
	*simulations.World
	result
	n     int
	meant int // of World.FalseDeaths: who was cut off, and so could not but be dropped
}

// meaning does something in which whoever is dropped is meant to be.
func (r *run) meaning(do func()) {
	before := r.World.FalseDeaths
	do()
	r.meant += r.World.FalseDeaths - before
}

const quiet = 60 * time.Second // measured idle time of a run

// idle measures what a cell costs in which nothing happens.
func (r *run) idle() {
	before := r.Sum()
	r.Run(10 * quiet)
	r.bytes(before.Bytes, 10*quiet)
}

func (r *run) bytes(before uint64, d time.Duration) {
	r.BytesPerNodeSecond = float64(r.Sum().Bytes-before) / float64(r.n) / d.Seconds()
}

// exposure lets nothing happen for long, so that whoever is taken for dead is taken so wrongly: 20 instance-days.
func (r *run) exposure() {
	const instanceDays = 20
	r.Run(instanceDays * 24 * time.Hour / time.Duration(r.n))
}

// start times how long strangers need to know each other.
func (r *run) start() { r.heal(2 * time.Minute) }

// kills ends some members, one after the other, and restarts them.
func (r *run) kills(count int) {
	for range count {
		r.Run(time.Duration(r.Rand.Int64N(int64(5 * time.Second))))
		victim := r.Node(r.Rand.IntN(r.n))
		victim.Crash()
		r.gone(victim)
		victim.Start(r.Node((victim.Index + 1) % r.n))
		r.Run(20 * time.Second)
	}
}

func (r *run) gone(victim *simulations.Node) {
	took, err := r.Gone(victim, 2*time.Minute)
	if err != nil {
		r.Missed++
		return
	}
	r.Took = append(r.Took, took.Seconds())
}

// crash ends many at once; each death is timed until the last survivor has dropped it.
func (r *run) crash(count int) {
	start := r.Now()
	victims := r.Rand.Perm(r.n)[:count]
	for _, i := range victims {
		r.Node(i).Crash()
	}
	for len(victims) > 0 && r.Now().Sub(start) < 3*time.Minute {
		r.Run(50 * time.Millisecond)
		var left []int
		for _, i := range victims {
			if r.Listers(r.Node(i)) == 0 {
				r.Took = append(r.Took, r.Now().Sub(start).Seconds())
			} else {
				left = append(left, i)
			}
		}
		victims = left
	}
	r.Missed = len(victims)
}

// partition cuts the cell in two halves for a minute. The certificates of one half against the other are not false.
func (r *run) partition() {
	r.Cut = func(a, b *simulations.Node) bool { return (a.Index < r.n/2) != (b.Index < r.n/2) }
	r.meaning(func() { r.Run(time.Minute) })
	r.Cut, r.Expected = nil, true
	r.heal(3 * time.Minute)
}

func (r *run) heal(within time.Duration) {
	start := r.Now()
	if err := r.Agree(within); err != nil {
		r.Missed++
		return
	}
	r.Heal = r.Now().Sub(start).Seconds()
}

// oneWay loses whatever one member sends to one of its neighbours.
func (r *run) oneWay() {
	a := r.Node(r.Rand.IntN(r.n))
	deaf := a.Machine().Neighbours()[0]
	r.Cut = func(from, to *simulations.Node) bool { return from == a && to.ID == deaf }
	r.Run(3 * time.Minute)
}

// pauses makes one member stand still for a second every 3 to 8 s.
func (r *run) pauses() {
	n := r.Node(r.Rand.IntN(r.n))
	for end := r.Now().Add(3 * time.Minute); r.Now().Before(end); {
		n.Pause(time.Second)
		r.Run(3*time.Second + time.Duration(r.Rand.Int64N(int64(5*time.Second))))
	}
}

// restarts ends 30 % at some moment of ten seconds, each for up to two.
func (r *run) restarts() {
	for _, i := range r.Rand.Perm(r.n)[:r.n*3/10] {
		n := r.Node(i)
		r.After(time.Duration(r.Rand.Int64N(int64(10*time.Second))), func() {
			n.Stop()
			r.After(time.Duration(r.Rand.Int64N(int64(2*time.Second))), func() { n.Start(r.Node((i + 1) % r.n)) })
		})
	}
	r.Run(12 * time.Second)
	r.heal(time.Minute)
}

// liars lets 30 % lie for a minute: a certificate against somebody each second, and each liar one small lie a second.
// Probe traffic is compared with the same cell before. Then honest members are cut off until the liars have them dropped.
func (r *run) liars() {
	probes := func() uint64 { return r.Sum("ping", "ack", "ask", "answer").Frames }
	before := probes()
	r.Run(quiet)
	honest := probes() - before
	var nodes []*simulations.Node
	for _, i := range r.Rand.Perm(r.n)[:r.n*3/10] {
		nodes = append(nodes, r.Node(i))
	}
	l := r.Turn(nodes...)
	l.Age = time.Hour
	before = probes()
	for end := r.Now().Add(quiet); r.Now().Before(end); {
		if victim := r.Node(r.Rand.IntN(r.n)); !l.Lies(victim) {
			l.Accuse(victim)
		}
		for range len(nodes) {
			l.Slander()
		}
		r.Run(time.Second)
	}
	r.ProbeRatio = float64(probes()-before) / float64(honest)
	r.Expected = true // the liars' own certificates are meant to be false; what counts is who was dropped
	r.readmissions(l)
}

// readmissions times how soon five members who were dropped are on every honest list again, and counts as missed who is not.
func (r *run) readmissions(l *simulations.Liars) {
	for _, n := range r.Nodes() {
		if !l.Lies(n) && l.Doubters(n) > 0 {
			r.Missed++
		}
	}
	for count := 0; count < 5; {
		victim := r.Node(r.Rand.IntN(r.n))
		if l.Lies(victim) {
			continue
		}
		count++
		r.meaning(func() {
			took, err := l.Readmission(victim, 2*time.Minute)
			if err != nil {
				r.Missed++
			}
			r.Readmit = max(r.Readmit, took.Seconds())
		})
		r.Run(10 * time.Second)
	}
}
