//go:build !linux

package doctor

import (
	"context"
	"runtime"
)

func sandboxed(context.Context, *machine) []Finding {
	return []Finding{finding(Warning, "there is no sandbox for spawned instances on "+runtime.GOOS, "run instances in a container, or write sandbox = \"none\" to take them as they are")}
}
