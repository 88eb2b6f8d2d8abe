package health

import "os/exec"

// inGroup does nothing: cancellation kills the command alone here.
func inGroup(*exec.Cmd) {}
