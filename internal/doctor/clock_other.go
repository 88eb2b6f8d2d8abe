//go:build !linux

package doctor

func kernelClock() (Finding, bool) { return Finding{}, false }
