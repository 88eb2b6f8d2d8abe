package sidecar

func (c *Command) supervise(started chan<- error) { started <- ErrUnsupported }

func (c *Command) terminate() {}

func (c *Command) kill() {}
