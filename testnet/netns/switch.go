package netns

import (
	"hash/fnv"
	"math/rand/v2"
	"net/netip"
	"sync"
	"time"
)

// Weather is what the wire does to every packet. The zero value delivers all of them at once.
type Weather struct {
	// Loss is the probability with which a packet is lost, each way, independently of all others; 0 to 1.
	Loss float64
	// MinDelay and MaxDelay bound the delay of a packet, one way. Each pair of addresses has a delay of its own between
	// them, the same both ways and as long as the Switch lives, so that packets of one flow keep their order.
	MinDelay, MaxDelay time.Duration
}

// A Switch carries IP packets between ports by their destination address. What has no port is lost, as on the Internet.
// Its methods may be called by many goroutines.
type Switch struct {
	mu      sync.Mutex
	random  *rand.Rand
	weather Weather
	owners  map[netip.Addr]*port
	cut     func(from, to netip.Addr) bool // nil: nothing is
	carried func(packet) bool              // nil: everything is
	tally   Tally
	bytes   map[netip.Addr]uint64
}

// Tally counts packets.
type Tally struct {
	Sent uint64 // taken from hosts for an address that has a port
	Lost uint64 // by the weather alone
}

// NewSwitch returns a Switch without ports. The seed decides which packets are lost.
func NewSwitch(seed uint64) *Switch {
	return &Switch{random: rand.New(rand.NewPCG(seed, 0)), owners: map[netip.Addr]*port{}, bytes: map[netip.Addr]uint64{}}
}

// SetWeather changes the weather for packets from now on.
func (s *Switch) SetWeather(w Weather) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.weather = w
}

// Split cuts the addresses of side off from all others, both ways. A later call takes the place of an earlier one.
func (s *Switch) Split(side ...netip.Addr) {
	in := map[netip.Addr]bool{}
	for _, a := range side {
		in[a] = true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cut = func(from, to netip.Addr) bool { return in[from] != in[to] }
}

// Heal undoes Split.
func (s *Switch) Heal() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cut = nil
}

// The numbers of IP protocols, as Carry takes them.
const (
	ICMP   = 1
	TCP    = 6
	UDP    = 17
	ICMPv6 = 58
)

// Carry lets only these protocols pass, as a strict firewall does; without any, all of them.
func (s *Switch) Carry(protocols ...byte) {
	in := map[byte]bool{}
	for _, p := range protocols {
		in[p] = true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.carried = nil
	if len(protocols) > 0 {
		s.carried = func(p packet) bool { return in[p.protocol] }
	}
}

// Tally returns what has been counted so far.
func (s *Switch) Tally() Tally {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tally
}

// Bytes returns how many bytes have been sent to an address and from it, IP headers included.
func (s *Switch) Bytes(a netip.Addr) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.bytes[a]
}

// own gives an address to a port; disown takes it away again.
func (s *Switch) own(a netip.Addr, p *port) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.owners[a] = p
}

func (s *Switch) disown(a netip.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.owners, a)
}

// forward takes one packet from a host. It keeps no reference to data.
func (s *Switch) forward(data []byte) {
	p, ok := parse(data)
	if !ok {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	to := s.owners[p.to]
	if to == nil || s.cut != nil && s.cut(p.from, p.to) || s.carried != nil && !s.carried(p) {
		return
	}
	s.tally.Sent++
	s.bytes[p.from] += uint64(len(data))
	s.bytes[p.to] += uint64(len(data))
	if s.random.Float64() < s.weather.Loss {
		s.tally.Lost++
		return
	}
	to.deliver(data, time.Now().Add(s.weather.delay(p.from, p.to)))
}

// delay is that of a pair of addresses: the same in both directions.
func (w Weather) delay(a, b netip.Addr) time.Duration {
	if w.MaxDelay <= w.MinDelay {
		return w.MinDelay
	}
	if b.Less(a) {
		a, b = b, a
	}
	h := fnv.New64a()
	h.Write(a.AsSlice())
	h.Write(b.AsSlice())
	return w.MinDelay + time.Duration(h.Sum64()%uint64(w.MaxDelay-w.MinDelay))
}
