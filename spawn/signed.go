package spawn

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"time"

	"github.com/cellnode/cellnode/internal/record"
	"github.com/cellnode/cellnode/internal/source"
)

// What a policy's binary says of binaries that a cell's publishers offer.
const (
	BinaryVerify     = "verify"      // taken in place of a build when their signature holds; the default
	BinaryRebuild    = "rebuild"     // the cell is built, and what comes out must be what they offer
	BinarySourceOnly = "source-only" // not looked at
)

// DifferentBinaryError says that a publisher's binary is not what the source makes.
type DifferentBinaryError struct {
	Cell          string
	Signed, Built string // SHA-256, hex
	Go            string // that made both
}

// Error names both.
func (e *DifferentBinaryError) Error() string {
	return fmt.Sprintf("spawn: %s: its publishers have signed binary %s, and its source makes %s with %s: ask them what they have built, or write binary = \"source-only\" under the cell's policy",
		e.Cell, e.Signed, e.Built, e.Go)
}

func thisSystem() string { return runtime.GOOS + "/" + runtime.GOARCH }

// signedKey names, in the cache, what the publishers of a cell have signed for this system.
func (r Recipe) signedKey() string {
	data, err := json.Marshal([]any{"cell/signed/v1", r.Cell.Repository, r.Cell.Tag, r.Commit, thisSystem()})
	if err != nil {
		panic(err) // strings alone
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// authority says who may sign binaries of the cell by all that is known of that here and in its repository; nil for an open
// cell.
func (r *Ribosome) authority(ctx context.Context, recipe Recipe) (*record.Authority, error) {
	if recipe.Trust == nil {
		return nil, nil
	}
	a, err := record.NewAuthority(recipe.Cell, *recipe.Trust)
	if err != nil {
		return nil, err
	}
	if r.cfg.Home != nil {
		defer r.cfg.Home.KeepTrust(a, r.cfg.Log)()
	}
	document, _, err := r.cfg.Source.Trust(ctx, recipe.URL, recipe.Cell)
	if err == nil && document != nil {
		_, err = a.Take(document.Bytes(), time.Now())
	}
	if err != nil { // what is known here holds
		r.cfg.Log.Debug("no trust document from the repository", "cell", recipe.Cell.String(), "err", err)
	}
	return a, nil
}

// signed is the binary that the publishers of a cell offer for this system, from the cache or from its repository. It is
// verified anew each time: a key may have been revoked meanwhile. False: there is none that holds.
func (r *Ribosome) signed(ctx context.Context, recipe Recipe) (Artifact, bool) {
	if recipe.Trust == nil || recipe.Binary != "" && recipe.Binary != BinaryVerify {
		return Artifact{}, false
	}
	a, err := r.verified(ctx, recipe)
	if err != nil && ctx.Err() == nil {
		r.cfg.Log.Warn("no signed binary: it is built from source", "cell", recipe.Cell.String(), "err", err)
	}
	return a, err == nil && a.SHA256 != ""
}

// verified is signed with the reason why not; without an offer it is zero.
func (r *Ribosome) verified(ctx context.Context, recipe Recipe) (Artifact, error) {
	authority, err := r.authority(ctx, recipe)
	if err != nil {
		return Artifact{}, err
	}
	key := recipe.signedKey()
	if a, ok := r.cfg.Cache.lookup(key); ok {
		if _, err := authority.Binaries(a.Signed, recipe.Commit, time.Now()); err != nil {
			return Artifact{}, err
		}
		return a, nil
	}
	offer, one, err := r.offered(ctx, authority, recipe)
	if err != nil || offer == nil {
		return Artifact{}, err
	}
	if err := r.cfg.Cache.makeDirs(); err != nil {
		return Artifact{}, err
	}
	file, err := os.CreateTemp(r.cfg.Cache.path("tmp"), "signed-")
	if err != nil {
		return Artifact{}, fmt.Errorf("spawn: %w", err)
	}
	defer os.Remove(file.Name())
	defer file.Close()
	if _, err := file.Write(offer.Binary); err != nil {
		return Artifact{}, fmt.Errorf("spawn: %w", err)
	}
	return r.cfg.Cache.publish(file, Artifact{
		Key: key, Repository: recipe.Cell.Repository, Tag: recipe.Cell.Tag, Commit: recipe.Commit,
		OS: one.OS, Arch: one.Arch, Toolchain: one.Go, Signed: offer.Signed,
	})
}

// offered reads what the repository offers, and holds it to its signature: nothing of it is kept before.
func (r *Ribosome) offered(ctx context.Context, authority *record.Authority, recipe Recipe) (*source.Offer, record.Binary, error) {
	offer, _, err := r.cfg.Source.Binary(ctx, recipe.URL, recipe.Cell, recipe.Commit, thisSystem())
	if err != nil || offer == nil {
		return nil, record.Binary{}, err
	}
	list, err := authority.Binaries(offer.Signed, recipe.Commit, time.Now())
	if err != nil {
		return nil, record.Binary{}, err
	}
	one, ok := list.For(runtime.GOOS, runtime.GOARCH)
	sum := sha256.Sum256(offer.Binary)
	switch {
	case !ok:
		return nil, one, fmt.Errorf("spawn: the publishers have signed no binary for %s", thisSystem())
	case hex.EncodeToString(sum[:]) != one.SHA256 || int64(len(offer.Binary)) != one.Size:
		return nil, one, fmt.Errorf("spawn: the binary in the repository has SHA-256 %x, and %s is signed", sum, one.SHA256)
	}
	return offer, one, nil
}

// compare holds what was built to what the publishers have signed, if the policy says so and the same Go made both. It is
// called before the binary is published.
func (j *job) compare(ctx context.Context, r *Ribosome, built string) error {
	if j.recipe.Binary != BinaryRebuild || j.recipe.Trust == nil {
		return nil
	}
	authority, err := r.authority(ctx, j.recipe)
	if err != nil {
		return err
	}
	offer, one, err := r.offered(ctx, authority, j.recipe)
	switch {
	case err != nil:
		return err
	case offer == nil:
		j.cfg.Log.Warn("nothing to compare with: the publishers offer no binary", "cell", j.recipe.Cell.String())
	case one.Go != j.tools.version:
		return fmt.Errorf("spawn: %s: its publishers have built with %s, and here is %s: the two cannot be compared; install that Go, or write another binary under the cell's policy",
			j.recipe.Cell, one.Go, j.tools.version)
	case one.SHA256 != built:
		return &DifferentBinaryError{Cell: j.recipe.Cell.String(), Signed: one.SHA256, Built: built, Go: one.Go}
	}
	return nil
}

// isSigned reports whether a is what publishers have signed.
func (a Artifact) isSigned() bool { return len(a.Signed) > 0 }
