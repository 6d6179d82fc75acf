// SPDX-License-Identifier: MPL-2.0

package main

import (
	"cmp"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/lmittmann/tint"
	"golang.org/x/term"
	"gopkg.in/natefinch/lumberjack.v2"

	"github.com/mimird/mimird/config"
)

// openLog returns where the log goes: w, or the file that the configuration or else
// MIMIRD_LOG_FILE asks for, and what closes it. What cannot be written to the file goes to w.
func openLog(w io.Writer, c config.Log, dir string) (out io.Writer, closeLog func() error, err error) {
	path := cmp.Or(c.File, os.Getenv("MIMIRD_LOG_FILE"))
	if path == "" {
		return w, func() error { return nil }, nil
	}
	if !filepath.IsAbs(path) {
		path = filepath.Join(dir, path)
	}
	file := &lumberjack.Logger{Filename: path, MaxSize: int(c.MaxSize >> 20), MaxBackups: c.Keep, LocalTime: true}
	if _, err := file.Write(nil); err != nil { // which opens it
		return nil, nil, configError{fmt.Errorf("log.file: %w", err)}
	}
	return &logFile{file, w}, file.Close, nil
}

// logFile writes to a file, and elsewhere what that does not take.
type logFile struct{ file, other io.Writer }

func (l *logFile) Write(line []byte) (int, error) {
	if _, err := l.file.Write(line); err != nil {
		return l.other.Write(line)
	}
	return len(line), nil
}

// newLogger makes the logger that the configuration asks for.
func newLogger(w io.Writer, c config.Log) *slog.Logger {
	terminal := isTerminal(w)
	switch {
	case c.Format == "json", c.Format == "auto" && !terminal:
		return slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{Level: c.SlogLevel(), ReplaceAttr: readable}))
	default:
		return slog.New(tint.NewHandler(w, &tint.Options{Level: c.SlogLevel(), TimeFormat: time.TimeOnly, NoColor: !terminal, ReplaceAttr: readable}))
	}
}

// readable writes durations as people do, 1.5s and not 1500000000, with three digits or
// more.
func readable(_ []string, a slog.Attr) slog.Attr {
	if a.Value.Kind() == slog.KindDuration {
		a.Value = slog.StringValue(shortDuration(a.Value.Duration()))
	}
	return a
}

// shortDuration writes a duration with as many digits as matter.
func shortDuration(d time.Duration) string {
	for _, unit := range []time.Duration{time.Second, time.Millisecond, time.Microsecond} {
		if d >= 100*unit || d <= -100*unit {
			return d.Round(unit).String()
		}
	}
	return d.String()
}

// isTerminal reports whether a person is at the other end of a reader or writer.
func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
