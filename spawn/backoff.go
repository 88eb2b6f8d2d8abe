package spawn

import (
	"math/rand/v2"
	"time"
)

// How a service that ends by itself is started again.
const (
	firstBackoff  = 100 * time.Millisecond
	longBackoff   = 10 * time.Second
	healthyAfter  = 30 * time.Second // up for this long, a service begins anew
	maxRestarts   = 5                // within restartWindow: more, and it has failed
	restartWindow = time.Minute
	jitter        = 0.2 // of each wait, up or down
)

// backoff is the arithmetic of restarts. It reads no clock.
type backoff struct {
	wait time.Duration
	ends []time.Time // within the window
}

// ended says how long to wait before the next start of a service that began at up and ended at now; false: not at all.
func (b *backoff) ended(up, now time.Time, random *rand.Rand) (time.Duration, bool) {
	if now.Sub(up) >= healthyAfter {
		*b = backoff{}
	}
	kept := b.ends[:0]
	for _, at := range b.ends {
		if now.Sub(at) < restartWindow {
			kept = append(kept, at)
		}
	}
	b.ends = append(kept, now)
	if len(b.ends) > maxRestarts {
		return 0, false
	}
	b.wait = max(firstBackoff, min(2*b.wait, longBackoff))
	return time.Duration(float64(b.wait) * (1 + jitter*(2*random.Float64()-1))), true
}
