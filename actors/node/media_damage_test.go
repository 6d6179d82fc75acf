// SPDX-License-Identifier: MPL-2.0

package node_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mimird/mimird/actors/transfer"

	"github.com/mimird/mimird/actors/node"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/test/phone"
)

// rots flips a bit of a stored file.
func (p *parcel) rots(t *testing.T, content []byte) {
	t.Helper()
	sum := sha256.Sum256(content)
	name := hex.EncodeToString(sum[:])
	path := filepath.Join(p.n.Opts.Dir, "media", "files", name[:2], name)
	damaged, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	damaged[len(damaged)/2] ^= 4
	later := time.Now().Add(time.Hour)
	if err := errors.Join(os.WriteFile(path, damaged, 0o600), os.Chtimes(path, later, later)); err != nil {
		t.Fatal(err)
	}
}

// Bar R12: a file that is damaged on the disk is named by check, given to nobody, and
// fetched again for each message that it belongs to; the others are as they were.
func TestDamagedFileIsFetchedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := pack(t, phone.FileFaults{})
		data, other := pattern(200_000, 5), pattern(1000, 6)
		first := p.post(t, phone.Message{Type: phone.File, Payload: p.server.Offer("a.bin", data).Payload()})
		second := p.post(t, phone.Message{Type: phone.File, Payload: p.server.Offer("same.bin", data).Payload()})
		beside := p.post(t, phone.Message{Type: phone.File, Payload: p.server.Offer("b.bin", other).Payload()})
		sent := p.sends(t, node.OutgoingFile{Body: bytes.NewReader(jpeg), Name: "ours.jpg"})
		p.arrives(t, sent)
		for _, id := range []store.MessageID{first, second, beside, sent.ID} {
			p.becomes(t, id, store.MediaStored)
		}
		p.rots(t, data)
		p.rots(t, jpeg)
		problems, err := p.n.Check()
		text := strings.Join(problems, "\n")
		if err != nil || len(problems) != 3 || !strings.Contains(text, "damaged on the disk") {
			t.Errorf("check: %q, %v", problems, err)
		}
		for _, id := range []store.MessageID{first, second, sent.ID} {
			if !strings.Contains(text, id.String()) {
				t.Errorf("check does not name %s: %s", id, text)
			}
		}
		for _, id := range []store.MessageID{first, sent.ID} {
			if f, info, err := p.n.OpenMedia(p.n.Account.ID, p.contact(), id); !errors.Is(err, transfer.ErrNotHere) {
				t.Errorf("%s: %v, %+v, %v", id, f, info, err)
			}
		}
		for id, want := range map[store.MessageID][]byte{first: data, second: data, beside: other, sent.ID: jpeg} {
			p.becomes(t, id, store.MediaStored)
			p.holds(t, id, want)
		}
		if problems, err := p.n.Check(); err != nil || len(problems) > 0 {
			t.Errorf("check after that: %q, %v", problems, err)
		}
	})
}

// A file that is damaged before it was uploaded is lost: its message fails and says
// why, nothing of it reaches the server, and what is queued behind it goes on.
func TestDamagedFileIsNotSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := pack(t, phone.FileFaults{Refuse: "quota exceeded"})
		whole := pattern(90_000, 8)
		lost := p.sends(t, node.OutgoingFile{Body: bytes.NewReader(jpeg), Name: "a.jpg"})
		good := p.sends(t, node.OutgoingFile{Body: bytes.NewReader(whole), Name: "b.bin"})
		p.n.EventuallyWithin(time.Hour, "both were tried", func() bool {
			return p.state(t, lost.ID).Reason != "" && p.state(t, good.ID).Reason != ""
		})
		p.rots(t, jpeg)
		p.server.SetFaults(phone.FileFaults{})
		p.arrives(t, good)
		info := p.becomes(t, lost.ID, store.MediaFailed)
		m, err := p.n.Message(p.n.Account.ID, p.contact(), lost.ID)
		if err != nil || m.State != store.StateFailed || !strings.Contains(info.Reason, "damaged on the disk") {
			t.Errorf("%+v, %+v, %v", m, info, err)
		}
		if p.server.Files() != 1 || len(p.p.Page(p.key).Received) != 1 {
			t.Errorf("%d files on the server, %d messages", p.server.Files(), len(p.p.Page(p.key).Received))
		}
	})
}

// A contact that asks for a damaged file gets none of it.
func TestDamagedFileIsNotServed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := pack(t, phone.FileFaults{})
		sent := p.sends(t, node.OutgoingFile{Body: bytes.NewReader(jpeg), Name: "ours.jpg"})
		got := p.arrives(t, sent)
		p.becomes(t, sent.ID, store.MediaStored)
		a, err := phone.ParseAttachment(got.Payload)
		if err != nil {
			t.Fatal(err)
		}
		p.rots(t, jpeg)
		sum := sha256.Sum256(jpeg)
		if err := p.p.Session(p.key).Send(phone.Frame{Type: phone.TypeFileRequest, Fields: phone.Fields{
			"guid": sent.ID.GUID, "name": a.Name, "hash": hex.EncodeToString(sum[:]),
		}}); err != nil {
			t.Fatal(err)
		}
		p.becomes(t, sent.ID, store.MediaDownloading)
		p.becomes(t, sent.ID, store.MediaStored)
		p.holds(t, sent.ID, jpeg)
		if got := p.p.Page(p.key).Files; len(got) > 0 {
			t.Errorf("%d files came", len(got))
		}
	})
}
