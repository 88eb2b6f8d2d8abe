//go:build !linux

package spawn

// watchIdle does nothing: there is no sandbox here, and so no service.
func (c *Capsid) watchIdle() {}
