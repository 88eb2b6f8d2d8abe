package main

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"time"

	"github.com/spf13/cobra"
)

// globals are the flags that every command takes.
type globals struct {
	json    bool
	timeout time.Duration
	verbose bool
}

// context returns the command's context with --timeout, or with the default where that is not given; 0 means none.
func (g *globals) context(cmd *cobra.Command, fallback time.Duration) (context.Context, context.CancelFunc) {
	timeout := g.timeout
	if timeout == 0 {
		timeout = fallback
	}
	if timeout == 0 {
		return context.WithCancel(cmd.Context())
	}
	return context.WithTimeout(cmd.Context(), timeout)
}

// log returns where a command logs to: standard error, at Info for a node and at Debug with --verbose.
func (g *globals) log(cmd *cobra.Command, level slog.Level) *slog.Logger {
	if g.verbose {
		level = slog.LevelDebug
	}
	if g.json {
		return slog.New(slog.NewJSONHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: level}))
	}
	return slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: level}))
}

// print writes v as JSON with --json, and else what text writes.
func (g *globals) print(cmd *cobra.Command, v any, text func(io.Writer) error) error {
	if g.json {
		return json.NewEncoder(cmd.OutOrStdout()).Encode(v)
	}
	return text(cmd.OutOrStdout())
}
