// SPDX-License-Identifier: MPL-2.0

package control

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"testing"
)

// The socket of a process that has ended makes way; a file, a directory or a link that
// the configuration names by mistake stays.
func TestListenUnix_RemovesOnlyASocket(t *testing.T) {
	dir := t.TempDir()
	stale := filepath.Join(dir, "stale")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: stale, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	opened, err := listenUnix(t.Context(), stale)
	if err != nil {
		t.Fatalf("a stale socket: %v", err)
	}
	if err := opened.Close(); err != nil {
		t.Error(err)
	}

	file, sub, link := filepath.Join(dir, "file"), filepath.Join(dir, "directory"), filepath.Join(dir, "link")
	if err := errors.Join(os.WriteFile(file, []byte("precious"), 0o600), os.Mkdir(sub, 0o700), os.Symlink(file, link)); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{file, sub, link} {
		if opened, err := listenUnix(t.Context(), path); !errors.Is(err, errNotASocket) {
			t.Errorf("%s: %v", path, err)
			if opened != nil {
				_ = opened.Close()
			}
		}
		if _, err := os.Lstat(path); err != nil {
			t.Errorf("it is gone: %v", err)
		}
	}
}
