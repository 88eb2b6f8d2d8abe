//go:build !linux

package main

import "os"

// There is nothing to take away here.
func noSandbox()     { os.Exit(99) }
func landlockAlone() { os.Exit(99) }
