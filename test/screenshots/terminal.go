// SPDX-License-Identifier: MPL-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// The capture of the terminal client in its document is between these lines.
const (
	captureBegin = "<!-- captured by make screenshots -->\n\n```text\n"
	captureEnd   = "```\n\n<!-- end -->"
)

// takeTerminal puts what Alice's terminal shows into docs/chat.md.
func (w *world) takeTerminal(ctx context.Context, o options) error {
	text, err := captureTerminal(ctx, w.dir, o.node, w.alice.Dir, "Bob", "See you at noon!")
	if err != nil {
		return err
	}
	return putCapture(filepath.Join(o.out, "..", "chat.md"), text)
}

// captureTerminal runs mimird chat for a data directory in tmux, opens the conversation with
// somebody, and returns what is on the screen when the last message is there.
func captureTerminal(ctx context.Context, dir, program, data, name, last string) (text string, err error) {
	tmux := func(args ...string) (string, error) {
		out, err := exec.CommandContext(ctx, "tmux", append([]string{"-S", filepath.Join(dir, "tmux"), "-f", os.DevNull}, args...)...).CombinedOutput()
		if err != nil {
			return "", fmt.Errorf("tmux %s: %w: %s", args[0], err, out)
		}
		return string(out), nil
	}
	command := []string{"env", "LC_ALL=C.UTF-8", "NO_COLOR=", program, "chat", "--data", data}
	if _, err := tmux(append([]string{"-u", "new-session", "-d", "-x", "80", "-y", "24"}, command...)...); err != nil {
		return "", err
	}
	defer func() {
		_, endErr := tmux("kill-server")
		err = errors.Join(err, endErr)
	}()
	shows := func(what string) error {
		return until(ctx, "the terminal shows "+what, func() (bool, error) {
			text, err = tmux("capture-pane", "-p")
			return strings.Contains(text, what), err
		})
	}
	for _, step := range []struct {
		keys []string
		want string
	}{{nil, name}, {[]string{"C-f", name, "Enter"}, "contact " + name}, {[]string{"Enter"}, last + " ✓"}} {
		for _, key := range step.keys {
			if _, err := tmux("send-keys", key); err != nil {
				return text, err
			}
		}
		if err := shows(step.want); err != nil {
			return text, err
		}
	}
	return text, nil
}

// putCapture replaces the capture in a document.
func putCapture(path, text string) error {
	raw, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	head, rest, ok := strings.Cut(string(raw), captureBegin)
	_, tail, ok2 := strings.Cut(rest, captureEnd)
	if !ok || !ok2 {
		return fmt.Errorf("%s has no place for the capture of a terminal", path)
	}
	return os.WriteFile(path, []byte(head+captureBegin+strings.TrimRight(text, "\n")+"\n"+captureEnd+tail), 0o644) //nolint:gosec // as the other documents
}
