// SPDX-License-Identifier: MPL-2.0

package fileserver

import (
	"bytes"
	"context"
	"crypto/sha256"
	"log/slog"
	"os"
	"testing"
	"time"

	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/actors/strangerlog"
	"github.com/mimird/mimird/proto/files"
	"github.com/mimird/mimird/proto/identity"
)

// Two identities upload the same file. The second upload does not come to its end,
// because the node stops: the file of the first, who was answered, stays.
func TestHost_FailedSecondUploadLeavesTheFile(t *testing.T) {
	root, err := os.OpenRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = root.Close() }()
	content := []byte("what both have uploaded")
	first, second := identity.PublicKey{1}, identity.PublicKey{2}
	id := files.Hash(sha256.Sum256(content))
	for _, taken := range []bool{true, false} {
		h := &host{
			deps: Deps{Now: time.Now, Strangers: strangerlog.New(slog.New(slog.DiscardHandler))}, root: root, files: make(map[files.Hash]store.HostedFile), uploads: make(map[uploadKey]*upload),
			space: space{quota: 1 << 30, perIdentity: 1 << 30, used: make(map[identity.PublicKey]int64)},
		}
		if taken {
			h.add(store.HostedFile{Hash: id, Owner: first, Size: int64(len(content))})
		}
		u := &upload{name: "upload", total: int64(len(content)), hash: sha256.New()}
		u.hash.Write(content)
		h.space.add(second, u.total)
		h.uploads[uploadKey{second, id}] = u
		if err := root.WriteFile(u.name, content, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := root.MkdirAll(hostedDir, 0o700); err != nil {
			t.Fatal(err)
		}
		h.deps.Writer = kernel.Ref{} // the store has stopped
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := h.publish(ctx, second, id, u); err == nil {
			t.Fatal("it was published")
		}
		got, err := root.ReadFile(hostedName(id))
		if there := bytes.Equal(got, content); there != taken {
			t.Errorf("uploaded before: %t, there: %t, %v", taken, there, err)
		}
		if len(h.uploads) > 0 || h.space.used[second] > 0 {
			t.Errorf("uploads %v, in use %v", h.uploads, h.space.used)
		}
	}
}
