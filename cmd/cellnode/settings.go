package main

import (
	"os"

	"github.com/cellnode/cellnode/internal/home"
)

// openHome opens the home directory of a node and checks its settings, and those of the environment before it makes
// anything.
func openHome() (*home.Dir, error) {
	if _, err := home.ParseConfig("", nil, home.Environment(os.Getenv)); err != nil {
		return nil, err
	}
	dir, err := home.Open()
	if err != nil {
		return nil, err
	}
	_, err = dir.Config()
	return dir, err
}

// checkSettings refuses settings that are wrong. A home directory that cannot be had is no error: a client does without.
func checkSettings() error {
	if _, err := home.ParseConfig("", nil, home.Environment(os.Getenv)); err != nil {
		return err
	}
	dir, err := home.Open()
	if err != nil {
		return nil
	}
	_, err = dir.Config()
	return err
}
