package manifest

import (
	"fmt"
	"strings"
	"time"
)

// TooFarError is the end of the seed's build step: no instance near enough, and none may be started here.
type TooFarError struct {
	Name     string
	Best     time.Duration  // least RTT of a usable instance; 0: none
	Limit    *time.Duration // max_latency_ms; nil: no limit
	Known    int            // instances that were known
	Answered int            // of these, instances that answered
	Offline  bool           // offline_vendor: none was asked
	Reasons  []string       // why instances that answered cannot be used, "peer: reason", sorted
}

// Error begins with the seed's words, exactly: exchange too far and local spawn disabled. Then come the best round trip,
// the limit, what was probed, and what to do.
func (e *TooFarError) Error() string {
	return fmt.Sprintf("%s (%s); %s", e.Message(), e.measured(), e.advice())
}

// Message is the seed's sentence alone.
func (e *TooFarError) Message() string {
	return fmt.Sprintf("%s too far and local spawn disabled", e.Name)
}

func (e *TooFarError) measured() string {
	if e.Offline {
		return "offline_vendor is set and Cell.lock records no instance"
	}
	limit := "no limit"
	if e.Limit != nil {
		limit = fmt.Sprintf("limit %s", milliseconds(*e.Limit))
	}
	best := "no usable answer"
	if e.Best > 0 {
		best = fmt.Sprintf("best %s", milliseconds(e.Best))
	}
	text := fmt.Sprintf("%s, %s; %s known, %d answered", best, limit, instances(e.Known), e.Answered)
	if len(e.Reasons) > 0 {
		text += fmt.Sprintf("; %d refused, such as %s", len(e.Reasons), e.Reasons[0])
	}
	return text
}

func (e *TooFarError) advice() string {
	var ways []string
	if e.Offline {
		ways = append(ways, "run cellnode build --update with a network")
	}
	if e.Best > 0 && e.Limit != nil {
		ways = append(ways, "raise max_latency_ms")
	}
	ways = append(ways, "set auto_spawn = true")
	return fmt.Sprintf("%s in [cell.%s.policy]", strings.Join(ways, " or "), e.Name)
}

// milliseconds keeps what a person compares: tenths of a millisecond, or microseconds below ten milliseconds.
func milliseconds(d time.Duration) string {
	if d >= 10*time.Millisecond {
		d = d.Round(100 * time.Microsecond)
	} else {
		d = d.Round(time.Microsecond)
	}
	return fmt.Sprintf("%g ms", float64(d)/float64(time.Millisecond))
}

func instances(n int) string {
	if n == 1 {
		return "1 instance"
	}
	return fmt.Sprintf("%d instances", n)
}
