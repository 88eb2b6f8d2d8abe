package build

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/cellnode/cellnode/internal/reflection"
)

// liveTimeout is for asking one instance.
const liveTimeout = 10 * time.Second

// LiveError says that instances serve something else than the repository says.
type LiveError struct {
	Name  string
	Wrong []string // "peer: what", sorted
}

func (e *LiveError) Error() string {
	return fmt.Sprintf("build: cell %s: what instances serve is not what the repository says: %s; tell who runs them, or leave them out with cellnode build --update",
		e.Name, strings.Join(e.Wrong, "; "))
}

// CheckLive is Check, and then asks every instance that may be used for its interface by gRPC's reflection. One that does
// not offer reflection is noted in its row.
func (b *Builder) CheckLive(ctx context.Context) ([]*Report, error) {
	reports, err := b.Check(ctx)
	if err != nil {
		return reports, err
	}
	if err := b.reopen(nil); err != nil {
		return reports, err
	}
	for _, r := range reports {
		if err := b.live(ctx, r); err != nil {
			return reports, err
		}
	}
	return reports, nil
}

func (b *Builder) live(ctx context.Context, r *Report) error {
	if r.facts == nil {
		return nil
	}
	wanted, err := compile(r.facts.file, r.facts.raw)
	if err != nil {
		return err
	}
	if !reflection.HasServices(wanted) {
		return nil
	}
	var wrong []string
	for i := range r.Instances {
		row := &r.Instances[i]
		if row.Verdict != "used" && row.Verdict != used(true) {
			continue
		}
		err := b.reflect(ctx, r.Name, *row, wanted)
		var other *reflection.ContradictionError
		switch {
		case errors.As(err, &other):
			row.Verdict = "serves another interface than it says"
			wrong = append(wrong, row.Peer+": "+strings.Join(other.Breaking, ", "))
		case errors.Is(err, reflection.ErrNone):
			row.Verdict = "used; offers no reflection"
		case err != nil:
			wrong = append(wrong, fmt.Sprintf("%s: %s", row.Peer, oneLine(err)))
		default:
			row.Verdict = "used; serves it"
		}
	}
	if len(wrong) > 0 {
		slices.Sort(wrong)
		return &LiveError{r.Name, wrong}
	}
	return nil
}

func oneLine(err error) string { return strings.ReplaceAll(err.Error(), "\n", " ") }

// reflect asks one instance what it serves.
func (b *Builder) reflect(ctx context.Context, name string, row Row, wanted []protoreflect.FileDescriptor) error {
	ctx, cancel := context.WithTimeout(ctx, liveTimeout)
	defer cancel()
	return reflection.Check(ctx, func(ctx context.Context) (net.Conn, error) {
		if row.Path == "local" {
			return b.client.Dial(ctx, name)
		}
		return b.client.DialPeer(ctx, name, row.Peer)
	}, wanted)
}
