package main

import (
	"os"
	"runtime/debug"
)

// saveMemory has the collector run twice as often as it would: a node lives for months beside a service that wants the
// memory, and what it allocates is so little that the processor does not feel it. GOGC and GOMEMLIMIT have the last word.
func saveMemory() {
	if os.Getenv("GOGC") == "" && os.Getenv("GOMEMLIMIT") == "" {
		debug.SetGCPercent(50)
	}
}
