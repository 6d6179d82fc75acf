// SPDX-License-Identifier: MPL-2.0

package main

import (
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/lmittmann/tint"
	"golang.org/x/term"

	"github.com/mimird/mimird/config"
)

// newLogger makes the logger that the configuration asks for.
func newLogger(w io.Writer, c config.Log) *slog.Logger {
	terminal := isTerminal(w)
	switch {
	case c.Format == "json", c.Format == "auto" && !terminal:
		return slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{Level: c.SlogLevel()}))
	default:
		return slog.New(tint.NewHandler(w, &tint.Options{Level: c.SlogLevel(), TimeFormat: time.TimeOnly, NoColor: !terminal}))
	}
}

// isTerminal reports whether a person is at the other end of a reader or writer.
func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
