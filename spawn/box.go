package spawn

import (
	"context"
	"errors"
	"fmt"

	"github.com/cellnode/cellnode/spawn/sandbox"
)

// errBuildTime is the cause of a build that took too long.
var errBuildTime = errors.New("took too long")

// play runs one step of the build in a sandbox, and returns what it said.
func (j *job) play(ctx context.Context, step string, box sandbox.Box) (string, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, j.cfg.Timeout, errBuildTime)
	defer cancel()
	said, denied := &tail{}, ""
	box.Name, box.Limits, box.Open, box.Stdout, box.Stderr = boxName, j.cfg.Limits, j.cfg.Open, said, said
	box.Denied = func(what string) {
		j.cfg.Log.Warn("the sandbox denied the build something", "cell", j.recipe.Cell.String(), "step", step, "what", what)
		denied += denial(what)
	}
	p, err := sandbox.Start(ctx, box)
	if err != nil {
		return "", j.refused(ctx, step, err)
	}
	defer p.Close()
	select {
	case <-p.Done():
	case <-ctx.Done():
		p.Close()
		if errors.Is(context.Cause(ctx), errBuildTime) {
			return "", j.failed(step, fmt.Sprintf("took longer than %v", j.cfg.Timeout), denied+said.String())
		}
		return "", context.Cause(ctx)
	}
	status, err := p.Wait()
	switch {
	case err != nil:
		return "", j.refused(ctx, step, err)
	case !status.OK():
		return "", j.failed(step, status.String(), denied+said.String())
	}
	return said.String(), nil
}

// denial is the line that stands for one denial in what a program says.
func denial(what string) string { return "cellnode: the sandbox denied " + what + "\n" }

// refused puts what the sandbox says into words of a build.
func (j *job) refused(ctx context.Context, step string, err error) error {
	var setup *sandbox.SetupError
	switch {
	case errors.Is(err, sandbox.ErrNoLayers):
		return ErrNoSandbox
	case errors.As(err, &setup):
		return j.failed(step, setup.Problem, "")
	case errors.Is(context.Cause(ctx), errBuildTime):
		return j.failed(step, fmt.Sprintf("took longer than %v", j.cfg.Timeout), "")
	}
	return err
}
