package overlay

import (
	"testing"
	"time"

	"github.com/cellnode/cellnode/internal/record"
)

// A record that was signed while the clock was ahead is refused by others until it is signed anew.
func TestRecordFromAheadIsSignedAnew(t *testing.T) {
	i := serveEcho(t, newNode(t), "a")
	in := i.Record().Instance
	in.Seq++
	in.Issued, in.Expires = in.Issued.Add(time.Hour), in.Expires.Add(time.Hour)
	ahead, err := record.Sign(i.node.cfg.Key, in)
	if err != nil {
		t.Fatal(err)
	}
	i.gossip.Update(ahead)
	for range 3 { // the channel holds one: the third is taken in after keepRecord is done with the first
		i.readdressed <- struct{}{}
	}
	if rec := i.Record(); time.Until(rec.Issued) > record.Leeway || !rec.Newer(ahead) {
		t.Errorf("still issued %s ahead, seq %d after %d", time.Until(rec.Issued), rec.Seq, ahead.Seq)
	}
}
