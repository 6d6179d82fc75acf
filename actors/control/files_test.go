// SPDX-License-Identifier: MPL-2.0

package control_test

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mimird/mimird/actors/transfer"

	"github.com/mimird/mimird/actors/actorstest"
	"github.com/mimird/mimird/actors/control"
	"github.com/mimird/mimird/actors/control/client"
	"github.com/mimird/mimird/actors/fileserver"
	"github.com/mimird/mimird/actors/node"
	"github.com/mimird/mimird/actors/overlay/memnet"
)

// TestFilesThroughTheAPI sends a file that is larger than any other request may be,
// and fetches it at the other end.
func TestFilesThroughTheAPI(t *testing.T) {
	w := actorstest.New(t, memnet.Options{})
	depot := w.Node("depot", func(o *node.Options) { o.Files = &fileserver.Options{OpenNetwork: w.Open} })
	server, _ := depot.FilesKey()
	node := func(name string) (*actorstest.Node, *client.Client) {
		socket := filepath.Join(t.TempDir(), name)
		n := w.Node(name, withControl(t, socket), func(o *node.Options) {
			o.Media = transfer.Options{Server: server, AutoDownload: transfer.Never}
		})
		api := client.New(socket)
		t.Cleanup(api.Close)
		return n, api
	}
	a, ca := node("a")
	b, cb := node("b")
	actorstest.Befriend(a, b)
	a.Eventually("the control API answers", func() bool {
		_, errA := ca.Accounts(t.Context())
		_, errB := cb.Accounts(t.Context())
		return errA == nil && errB == nil
	})
	data := bytes.Repeat([]byte("0123456789abcdef"), 9<<20/16)
	sent, err := ca.SendFile(t.Context(), "-", b.Account.ID.String(), client.NewFile{
		Body: bytes.NewReader(data), Name: "../übung.txt", Caption: "look & see", Source: "once",
	})
	if err != nil {
		t.Fatal(err)
	}
	var files []control.File
	b.Eventually("the message has arrived", func() bool {
		files, err = cb.Files(t.Context(), "-", a.Account.ID.String())
		return err == nil && len(files) == 1
	})
	got := files[0]
	if got.State != "offered" || got.Name != "übung.txt" || got.Caption != "look & see" || got.Size != int64(len(data)) || got.Message[1:] != sent.ID[1:] {
		t.Errorf("%+v", got)
	}
	var content bytes.Buffer
	if err := cb.ReadFile(t.Context(), "-", got.Contact, got.Message, &content); err == nil || !strings.Contains(err.Error(), "fetch it first") {
		t.Errorf("not here, and read: %v", err)
	}
	if _, err := cb.FetchFile(t.Context(), "-", got.Contact, got.Message); err != nil {
		t.Fatal(err)
	}
	b.Eventually("the file is here", func() bool {
		got, err = cb.File(t.Context(), "-", got.Contact, got.Message)
		return err == nil && got.State == "stored"
	})
	content.Reset()
	if err := cb.ReadFile(t.Context(), "-", got.Contact, got.Message, &content); err != nil || !bytes.Equal(content.Bytes(), data) || got.Type != "text/plain" {
		t.Errorf("%d bytes, %v, %+v", content.Len(), err, got)
	}
	for text, f := range map[string]client.NewFile{
		"empty": {Body: strings.NewReader("")}, "guid": {Body: strings.NewReader("x"), ReplyTo: "abc"},
	} {
		if _, err := ca.SendFile(t.Context(), "-", b.Account.ID.String(), f); err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("%v, want %s", err, text)
		}
	}
	if _, err := cb.File(t.Context(), "-", got.Contact, "i00"); err == nil {
		t.Error("not a message id")
	}
}
