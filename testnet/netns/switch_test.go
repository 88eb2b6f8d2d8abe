package netns

import (
	"io"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"
)

// device is a host's end of the wire in memory.
type device struct {
	in   chan []byte // from the host
	out  chan arrival
	done chan struct{}
}

type arrival struct {
	data []byte
	at   time.Time
}

func (d *device) Read(b []byte) (int, error) {
	select {
	case p := <-d.in:
		return copy(b, p), nil
	case <-d.done:
		return 0, io.EOF
	}
}

func (d *device) Write(b []byte) (int, error) {
	d.out <- arrival{b, time.Now()}
	return len(b), nil
}

func (d *device) Close() error {
	close(d.done)
	return nil
}

// plug attaches a device with these addresses until the test ends.
func plug(t *testing.T, s *Switch, addrs ...netip.Addr) *device {
	t.Helper()
	d := &device{make(chan []byte), make(chan arrival, maxQueued), make(chan struct{})}
	p := newPort(s, d)
	for _, a := range addrs {
		s.own(a, p)
	}
	t.Cleanup(func() {
		if err := p.close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

var (
	one, two, six = netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2"), netip.MustParseAddr("fd00::6")
	seven         = netip.MustParseAddr("fd00::7")
)

// datagram is a packet without content, numbered in its last byte.
func datagram(from, to netip.Addr, protocol, number byte) []byte {
	var p []byte
	if from.Is4() {
		p = make([]byte, header4+1)
		p[0], p[9] = 4<<4, protocol
		copy(p[12:], from.AsSlice())
		copy(p[16:], to.AsSlice())
	} else {
		p = make([]byte, header6+1)
		p[0], p[6] = 6<<4, protocol
		copy(p[8:], from.AsSlice())
		copy(p[24:], to.AsSlice())
	}
	p[len(p)-1] = number
	return p
}

func TestPacketsGoToTheirAddressAfterTheDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewSwitch(1)
		s.SetWeather(Weather{MinDelay: 30 * time.Millisecond})
		a, b := plug(t, s, one, six), plug(t, s, two, seven)
		sent := time.Now()
		for _, p := range [][]byte{datagram(one, two, UDP, 1), datagram(six, seven, TCP, 2), datagram(one, two, UDP, 3)} {
			a.in <- p
		}
		for number := byte(1); number <= 3; number++ {
			got := <-b.out
			if got.data[len(got.data)-1] != number || got.at.Sub(sent) != 30*time.Millisecond {
				t.Errorf("packet %d came after %s, want packet %d after 30ms", got.data[len(got.data)-1], got.at.Sub(sent), number)
			}
		}
	})
}

func TestSplitAndCarryCutAndNothingElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewSwitch(1)
		a, b := plug(t, s, one), plug(t, s, two)
		passes := func(protocol byte) bool {
			a.in <- datagram(one, two, protocol, 0)
			synctest.Wait()
			time.Sleep(time.Millisecond)
			select {
			case <-b.out:
				return true
			default:
				return false
			}
		}
		for _, step := range []struct {
			name     string
			do       func()
			udp, tcp bool
		}{
			{"nothing", func() {}, true, true},
			{"split", func() { s.Split(one) }, false, false},
			{"both on one side", func() { s.Split(one, two) }, true, true},
			{"healed", s.Heal, true, true},
			{"UDP alone", func() { s.Carry(UDP) }, true, false},
			{"TCP alone", func() { s.Carry(TCP) }, false, true},
			{"all again", func() { s.Carry() }, true, true},
			{"address gone", func() { s.disown(two) }, false, false},
		} {
			step.do()
			if udp, tcp := passes(UDP), passes(TCP); udp != step.udp || tcp != step.tcp {
				t.Errorf("after %s: UDP %v, TCP %v, want %v, %v", step.name, udp, tcp, step.udp, step.tcp)
			}
		}
	})
}

func TestLossIsAsOftenAsTheWeatherSays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewSwitch(7)
		s.SetWeather(Weather{Loss: 0.2})
		a, b := plug(t, s, one), plug(t, s, two)
		const sent = 5000
		for range sent {
			a.in <- datagram(one, two, UDP, 0)
		}
		synctest.Wait()
		tally := s.Tally()
		// Four standard deviations of a binomial distribution are 113.
		if tally.Sent != sent || tally.Lost < 887 || tally.Lost > 1113 || len(b.out) != sent-int(tally.Lost) {
			t.Errorf("%+v of %d, %d arrived", tally, sent, len(b.out))
		}
	})
}

func TestDelayOfAPairIsTheSameBothWaysAndWithinItsBounds(t *testing.T) {
	w := Weather{MinDelay: 20 * time.Millisecond, MaxDelay: 50 * time.Millisecond}
	seen := map[time.Duration]bool{}
	for n := range byte(20) {
		a := netip.AddrFrom4([4]byte{10, 0, 1, n})
		d := w.delay(one, a)
		if d < w.MinDelay || d >= w.MaxDelay || d != w.delay(a, one) {
			t.Errorf("%s to %s: %s, back %s", one, a, d, w.delay(a, one))
		}
		seen[d] = true
	}
	if len(seen) < 10 {
		t.Errorf("20 pairs have %d delays", len(seen))
	}
}

func FuzzParse(f *testing.F) {
	f.Add(datagram(one, two, UDP, 0))
	f.Add(datagram(six, seven, TCP, 0))
	f.Fuzz(func(t *testing.T, data []byte) {
		if p, ok := parse(data); ok && (!p.from.IsValid() || !p.to.IsValid()) {
			t.Errorf("%x is %+v", data, p)
		}
	})
}
