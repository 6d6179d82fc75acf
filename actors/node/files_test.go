// SPDX-License-Identifier: MPL-2.0

package node_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mimird/mimird/actors/transfer"

	"github.com/mimird/mimird/actors/actorstest"
	"github.com/mimird/mimird/actors/node"
	"github.com/mimird/mimird/actors/overlay"
	"github.com/mimird/mimird/actors/overlay/memnet"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/test/phone"
	"github.com/mimird/mimird/test/virtual"
)

// parcel is a node with a file server that is not ours and a phone.
type parcel struct {
	*talk
	w      *actorstest.World
	server *phone.FileServer
	clock  *wallClock
}

// pack makes the three; they are each other's contacts and have a session.
func pack(t *testing.T, faults phone.FileFaults, change ...func(*transfer.Options)) *parcel {
	t.Helper()
	w := actorstest.New(t, memnet.Options{})
	carrier := w.Net.Node(overlay.Limits{})
	t.Cleanup(func() { _ = carrier.Close() })
	server := phone.ServeFiles(t, carrier, faults)
	clock := new(wallClock)
	n := w.Node("owner", func(o *node.Options) {
		o.Now = clock.Now
		o.Media = transfer.Options{Server: server.Key()}
		for _, f := range change {
			f(&o.Media)
		}
	})
	n.AwaitAnnounced()
	k := &talk{n: n, key: phone.Key(n.Account.ID), p: w.Phone("phone", phone.Quirks{})}
	n.AddPhone(k.p.Key())
	k.p.Write(k.key, "hello")
	n.Eventually("a session", func() bool { return len(n.Stored(k.p.Key())) == 1 })
	return &parcel{talk: k, w: w, server: server, clock: clock}
}

func (p *parcel) contact() identity.PublicKey { return identity.PublicKey(p.p.Key()) }

// post has the phone send a file, and returns the node's message.
func (p *parcel) post(t *testing.T, m phone.Message) store.MessageID {
	t.Helper()
	guid := p.p.Post(p.key, m)
	id := store.MessageID{Dir: store.In, GUID: int64(guid)}
	p.n.EventuallyWithin(5*time.Minute, "the message has arrived", func() bool {
		_, err := p.n.Message(p.n.Account.ID, p.contact(), id)
		return err == nil
	})
	p.p.Eventually(t, time.Minute, "the message is acknowledged", func() bool { return len(p.p.Waiting(p.key)) == 0 })
	return id
}

func (p *parcel) state(t *testing.T, id store.MessageID) transfer.Info {
	t.Helper()
	info, err := p.n.MediaState(p.n.Account.ID, p.contact(), id)
	if err != nil {
		t.Fatal(err)
	}
	return info
}

// becomes waits until the file of a message is in a state.
func (p *parcel) becomes(t *testing.T, id store.MessageID, want store.MediaState) transfer.Info {
	t.Helper()
	p.n.EventuallyWithin(2*time.Hour, "the file is "+want.String(), func() bool { return p.state(t, id).State == want })
	return p.state(t, id)
}

// holds compares the file of a message.
func (p *parcel) holds(t *testing.T, id store.MessageID, want []byte) {
	t.Helper()
	f, info, err := p.n.OpenMedia(p.n.Account.ID, p.contact(), id)
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(f)
	if err := errors.Join(err, f.Close()); err != nil || !bytes.Equal(got, want) || info.Size != int64(len(want)) {
		t.Errorf("%d bytes of %d (%d announced), %v", len(got), len(want), info.Size, err)
	}
}

func (p *parcel) sends(t *testing.T, f node.OutgoingFile) store.Message {
	t.Helper()
	f.Account, f.Contact = p.n.Account.ID, p.contact()
	m, err := p.n.SendFile(t.Context(), f)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// arrives waits until the phone has a message and returns it.
func (p *parcel) arrives(t *testing.T, m store.Message) phone.Message {
	t.Helper()
	var found phone.Message
	p.p.Eventually(t, 3*time.Hour, "the file's message", func() bool {
		for _, got := range p.p.Page(p.key).Received {
			if int64(got.GUID) == m.ID.GUID {
				found = got
				return true
			}
		}
		return false
	})
	return found
}

func pattern(n int, seed byte) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*7+i>>9) ^ seed
	}
	return b
}

var jpeg = append([]byte("\xff\xd8\xff\xe0\x00\x10JFIF\x00"), pattern(150_000, 3)...)

func TestFileIsSentThroughServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := pack(t, phone.FileFaults{})
		for _, test := range []struct {
			file node.OutgoingFile
			data []byte
			kind phone.MessageType
			want phone.Attachment
		}{
			{
				node.OutgoingFile{Name: "../../holiday.jpg", Caption: "look"},
				jpeg, phone.Image,
				phone.Attachment{OriginalName: "holiday.jpg", Text: "look"},
			},
			{
				node.OutgoingFile{Name: "data.bin", MIMEType: "application/x-thing"},
				pattern(1<<20+5, 1), phone.File,
				phone.Attachment{OriginalName: "data.bin", MIMEType: "application/x-thing"},
			},
			{
				node.OutgoingFile{Name: "note.ogg", Voice: true},
				pattern(1000, 2), phone.File,
				phone.Attachment{OriginalName: "voice_message.m4a", MIMEType: "audio/mp4"},
			},
		} {
			test.file.Body = bytes.NewReader(test.data)
			m := p.sends(t, test.file)
			got := p.arrives(t, m)
			a, err := phone.ParseAttachment(got.Payload)
			if err != nil || got.Type != test.kind || a.OriginalName != test.want.OriginalName || a.Text != test.want.Text || a.MIMEType != test.want.MIMEType {
				t.Errorf("%+v, type %d, %v", a, got.Type, err)
			}
			if strings.ContainsAny(a.Name, "/\\") || len(a.Name) < 17 || a.Server != p.server.Key().String() {
				t.Errorf("%+v", a)
			}
			if plain, err := p.server.Plain(a); err != nil || !bytes.Equal(plain, test.data) {
				t.Errorf("%d bytes, %v", len(plain), err)
			}
			p.becomes(t, m.ID, store.MediaStored)
			p.holds(t, m.ID, test.data)
		}
	})
}

// TestConversationKeepsItsOrder: a text that is queued after a file is sent after
// it, although the upload takes its time.
func TestConversationKeepsItsOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := pack(t, phone.FileFaults{CutUpload: 100_000, Times: 2})
		m := p.sends(t, node.OutgoingFile{Body: bytes.NewReader(jpeg), Name: "first.jpg"})
		p.n.SayTo(p.p.Key(), "second")
		p.p.Eventually(t, time.Hour, "both", func() bool { return len(p.p.Page(p.key).Received) == 2 })
		if got := p.p.Page(p.key).Received; int64(got[0].GUID) != m.ID.GUID {
			t.Errorf("first came %s", got[0].Payload)
		}
	})
}

// TestPatienceEnds: after it a text does not wait for a file that cannot be
// uploaded, and the file follows when it can.
func TestPatienceEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := pack(t, phone.FileFaults{Refuse: "quota exceeded"}, func(o *transfer.Options) { o.Patience = 2 * time.Minute })
		m := p.sends(t, node.OutgoingFile{Body: bytes.NewReader(jpeg), Name: "late.jpg"})
		start := time.Now()
		p.n.SayTo(p.p.Key(), "overtakes")
		p.p.Eventually(t, time.Hour, "the text", func() bool { return len(p.p.Page(p.key).Received) == 1 })
		if took := time.Since(start); took < 110*time.Second || took > 150*time.Second {
			t.Errorf("the text came after %v", took)
		}
		if info := p.state(t, m.ID); info.State != store.MediaUploading || !strings.Contains(info.Reason, "quota exceeded") {
			t.Errorf("%+v", info)
		}
		p.server.SetFaults(phone.FileFaults{})
		p.arrives(t, m)
		if got := len(p.p.Page(p.key).Received); got != 2 {
			t.Errorf("%d messages", got)
		}
	})
}

// TestUploadSurvivesRestart: stopped in the middle, the file is uploaded under the
// same key by the next process, and its message is sent once.
func TestUploadSurvivesRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := pack(t, phone.FileFaults{CutUpload: 65_536})
		m := p.sends(t, node.OutgoingFile{Body: bytes.NewReader(jpeg), Name: "a.jpg", Source: "source"})
		p.n.EventuallyWithin(time.Hour, "an attempt has failed", func() bool { return p.state(t, m.ID).Reason != "" })
		before, err := p.n.MediaRowForTest(p.n.Account.ID, p.contact(), m.ID)
		if err != nil || before.FileHash.IsZero() {
			t.Fatal(before, err)
		}
		if info := p.state(t, m.ID); !info.Next.After(time.Now()) {
			t.Errorf("the next attempt is at %s", info.Next)
		}
		p.n.Stop()
		p.server.SetFaults(phone.FileFaults{})
		p.n.Start()
		again := p.sends(t, node.OutgoingFile{Body: bytes.NewReader(jpeg), Name: "a.jpg", Source: "source"})
		if again.ID != m.ID {
			t.Errorf("queued again as %s", again.ID)
		}
		p.arrives(t, m)
		if _, ok := p.server.Stored(before.FileHash); !ok || p.server.Files() != 1 {
			t.Errorf("%d files on the server", p.server.Files())
		}
		virtual.Sleep(time.Hour)
		if got := len(p.p.Page(p.key).Received); got != 1 {
			t.Errorf("%d messages", got)
		}
	})
}

// TestSpoiltUploadIsRepeated under another name: the server answers OK for what it
// has stored wrongly, and would keep that.
func TestSpoiltUploadIsRepeated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := pack(t, phone.FileFaults{Swap: true, Times: 1})
		m := p.sends(t, node.OutgoingFile{Body: bytes.NewReader(jpeg), Name: "a.jpg"})
		a, err := phone.ParseAttachment(p.arrives(t, m).Payload)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := p.server.Plain(a); err != nil || !bytes.Equal(got, jpeg) || p.server.Files() != 2 {
			t.Errorf("%d bytes, %d files on the server, %v", len(got), p.server.Files(), err)
		}
	})
}

// TestUploadIsTrustedWhenToldSo: nothing is read back.
func TestUploadIsTrustedWhenToldSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for trust, reads := range map[bool]int{false: 1, true: 0} {
			p := pack(t, phone.FileFaults{}, func(o *transfer.Options) { o.TrustUploads = trust })
			p.arrives(t, p.sends(t, node.OutgoingFile{Body: bytes.NewReader(pattern(200_000, 1)), Name: "a.bin"}))
			if n := len(p.server.Offsets()); n != reads {
				t.Errorf("trusted %t: %d downloads", trust, n)
			}
		}
	})
}

// TestUndeliveredFileIsUploadedAgain before the server forgets it.
func TestUndeliveredFileIsUploadedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := pack(t, phone.FileFaults{})
		p.p.Stop()
		m := p.sends(t, node.OutgoingFile{Body: bytes.NewReader(jpeg), Name: "a.jpg"})
		p.becomes(t, m.ID, store.MediaStored)
		if p.server.Files() != 1 {
			t.Fatalf("%d files", p.server.Files())
		}
		p.clock.offset.Add(int64(14 * 24 * time.Hour))
		p.n.EventuallyWithin(2*time.Hour, "a fresh upload", func() bool { return p.server.Files() == 2 })
		p.becomes(t, m.ID, store.MediaStored)
	})
}

// TestFileIsFetched in all three forms.
func TestFileIsFetched(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := pack(t, phone.FileFaults{})
		data := pattern(3<<20, 5)
		a := p.server.Offer("IMG_1.jpg", data)
		a.Text = "from the beach"
		id := p.post(t, phone.Message{Type: phone.File, Payload: a.Payload()})
		info := p.becomes(t, id, store.MediaStored)
		p.holds(t, id, data)
		if info.Name != "IMG_1.jpg" || info.Caption != "from the beach" || info.Picture || info.Hash != sha256.Sum256(data) {
			t.Errorf("%+v", info)
		}

		small := pattern(40_000, 6)
		id = p.post(t, phone.Message{Type: phone.Image, Payload: phone.Attachment{Name: "x.jpg", Size: 40_000}.Inline(small)})
		p.becomes(t, id, store.MediaStored)
		p.holds(t, id, small)

		large := pattern(3<<20, 7) // does not fit into a message in memory
		id = p.post(t, phone.Message{Type: phone.File, Payload: phone.Attachment{Name: "x.bin", Size: 3 << 20}.Inline(large)})
		p.becomes(t, id, store.MediaStored)
		p.holds(t, id, large)
	})
}

// TestInlineFileObeysItsLimit: what came inside of a message is copied when files of
// that size are fetched by themselves, else when a person asks.
func TestInlineFileObeysItsLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := pack(t, phone.FileFaults{}, func(o *transfer.Options) { o.AutoDownload, o.Quota = 10_000, 20<<20 })
		post := func(size int) (store.MessageID, []byte) {
			data := pattern(size, byte(size))
			return p.post(t, phone.Message{Type: phone.File, Payload: phone.Attachment{Name: "x.bin", Size: int64(size)}.Inline(data)}), data
		}
		small, data := post(9_000)
		p.becomes(t, small, store.MediaStored)
		p.holds(t, small, data)
		large, data := post(11_000)
		if info := p.state(t, large); info.State != store.MediaOffered || info.Size != 11_000 {
			t.Errorf("%+v", info)
		}
		if used, _ := p.n.MediaUsage(); used != 9_000 {
			t.Errorf("%d bytes in use", used)
		}
		if _, err := p.n.FetchMedia(t.Context(), p.n.Account.ID, p.contact(), large); err != nil {
			t.Fatal(err)
		}
		p.becomes(t, large, store.MediaStored)
		p.holds(t, large, data)
		// One on a data stream is nowhere else.
		huge, data := post(3 << 20)
		p.becomes(t, huge, store.MediaStored)
		p.holds(t, huge, data)
		never, _ := post(6 << 20) // more than the files of one contact may take
		if info := p.becomes(t, never, store.MediaFailed); !strings.Contains(info.Reason, "one contact") {
			t.Errorf("%+v", info)
		}
		p.holds(t, huge, data)
	})
}

// TestInlineFileWithoutRoomIsOfferedAgain: the app sends such a message again only in
// another session, so the session ends; with room the message comes, once.
func TestInlineFileWithoutRoomIsOfferedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := pack(t, phone.FileFaults{}, func(o *transfer.Options) { o.Quota, o.Consumers = 16<<20, []string{"reader"} })
		inline := func(seed byte) phone.Message {
			return phone.Message{Type: phone.File, Payload: phone.Attachment{Name: "x.bin", Size: 3 << 20}.Inline(pattern(3<<20, seed))}
		}
		first := p.post(t, inline(1))
		p.becomes(t, first, store.MediaStored)
		guid := p.p.Post(p.key, inline(2)) // beyond the share, and the first was not seen yet
		virtual.Sleep(time.Minute)
		if len(p.p.Waiting(p.key)) != 1 {
			t.Error("a message is acknowledged whose file is nowhere")
		}
		last, err := p.n.LastEvent(p.n.Account.ID)
		if err != nil {
			t.Fatal(err)
		}
		if err := p.n.MoveCursor(t.Context(), "reader", p.n.Account.ID, store.ContactConversation(p.contact()), last); err != nil {
			t.Fatal(err)
		}
		// Long before the session would have ended for being idle.
		p.p.Eventually(t, 5*time.Minute, "the message is acknowledged", func() bool { return len(p.p.Waiting(p.key)) == 0 })
		id := store.MessageID{Dir: store.In, GUID: int64(guid)}
		p.becomes(t, id, store.MediaStored)
		p.holds(t, id, pattern(3<<20, 2))
		p.becomes(t, first, store.MediaEvicted)
		if got := p.n.Stored(p.p.Key()); len(got) != 3 {
			t.Errorf("%d messages", len(got))
		}
	})
}

// TestFileIsRequested from the contact, small over the control stream and large
// over a data stream. What nobody asked for is not taken, nor anything else than
// the file.
func TestFileIsRequested(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := pack(t, phone.FileFaults{})
		for i, size := range []int{1000, 300_000} {
			data := pattern(size, byte(size))
			hash := sha256.Sum256(data)
			a := phone.Attachment{Name: "../../evil", Size: int64(size), Hash: hex.EncodeToString(hash[:])}
			id := p.post(t, phone.Message{Type: phone.File, Payload: a.Payload()})
			p.p.Eventually(t, time.Minute, "a request", func() bool { return len(p.p.Page(p.key).Of(phone.TypeFileRequest)) == i+1 })
			request := p.p.Page(p.key).Of(phone.TypeFileRequest)[i]
			if request.Int("guid") != id.GUID || request.Text("hash") != a.Hash || request.Text("name") != a.Name {
				t.Errorf("%+v", request)
			}
			p.p.Post(p.key, phone.Message{GUID: phone.GUID(id.GUID), Type: phone.FileResponse, Payload: a.Inline(data)})
			p.becomes(t, id, store.MediaStored)
			p.holds(t, id, data)
			p.p.Eventually(t, time.Minute, "an OK", func() bool { return len(p.p.Waiting(p.key)) == 0 })
		}
		wrong := sha256.Sum256([]byte("another file"))
		a := phone.Attachment{Name: "x", Size: 5, Hash: hex.EncodeToString(wrong[:])}
		id := p.post(t, phone.Message{Type: phone.File, Payload: a.Payload()})
		p.p.Eventually(t, time.Minute, "a request", func() bool { return len(p.p.Page(p.key).Of(phone.TypeFileRequest)) == 3 })
		p.p.Post(p.key, phone.Message{GUID: phone.GUID(id.GUID), Type: phone.FileResponse, Payload: a.Inline([]byte("wrong"))})
		if info := p.becomes(t, id, store.MediaFailed); !strings.Contains(info.Reason, "not the file") {
			t.Errorf("%+v", info)
		}
		p.p.Post(p.key, phone.Message{GUID: 77, Type: phone.FileResponse, Payload: a.Inline([]byte("unasked"))})
		virtual.Sleep(time.Minute)
		for _, m := range p.n.Stored(p.p.Key()) {
			if m.ID.GUID == 77 {
				t.Error("a file that nobody asked for was taken")
			}
		}
	})
}

// TestDownloadGoesOn where it was cut off, also after a restart of the node.
func TestDownloadGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := pack(t, phone.FileFaults{CutDownload: 1 << 20})
		data := pattern(3<<20, 9)
		id := p.post(t, phone.Message{Type: phone.File, Payload: p.server.Offer("a", data).Payload()})
		p.n.EventuallyWithin(time.Hour, "an attempt has failed", func() bool { return p.state(t, id).Reason != "" })
		p.n.Stop()
		p.server.SetFaults(phone.FileFaults{CutDownload: 2 << 20, Times: 1})
		p.n.Start()
		p.becomes(t, id, store.MediaStored)
		p.holds(t, id, data)
		offsets := p.server.Offsets()
		if !slices.IsSorted(offsets) || offsets[len(offsets)-1] < 1<<20 || slices.Index(offsets, 0) != 0 || slices.Contains(offsets[1:], 0) {
			t.Errorf("downloads began at %v", offsets)
		}
	})
}

// TestFileThatCannotBeHad: its message is accepted all the same, the file is not
// believed, and what is left of it takes no room.
//
// Bar S05, S17
func TestFileThatCannotBeHad(t *testing.T) {
	data := pattern(200_000, 4)
	for name, test := range map[string]struct {
		faults phone.FileFaults
		change func(*phone.Attachment)
		want   string
	}{
		"the server lies about the size":    {phone.FileFaults{Total: 5_000_000}, nil, "another size"},
		"the server changes it":             {phone.FileFaults{Flip: true}, nil, "not the file"},
		"the server does not have it":       {change: func(a *phone.Attachment) { a.Hash = strings.Repeat("ab", 32) }, want: "does not have the file"},
		"another size in the message":       {change: func(a *phone.Attachment) { a.Size++ }, want: "another size"},
		"another key in the message":        {change: func(a *phone.Attachment) { a.Key = "A" + a.Key[1:] }, want: "decrypt"},
		"no key worth the name":             {change: func(a *phone.Attachment) { a.Key = "AAAA" }, want: "does not say where"},
		"no server":                         {change: func(a *phone.Attachment) { a.Server = "" }, want: "does not say where"},
		"an unreachable server for 16 days": {phone.FileFaults{Silent: true}, nil, "in the time that servers keep"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := pack(t, test.faults)
				a := p.server.Offer("a", data)
				if test.change != nil {
					test.change(&a)
				}
				id := p.post(t, phone.Message{Type: phone.File, Payload: a.Payload()})
				if test.faults.Silent {
					p.n.EventuallyWithin(time.Hour, "an attempt has failed", func() bool { return p.state(t, id).Reason != "" })
					p.clock.offset.Add(int64(17 * 24 * time.Hour))
				}
				p.becomes(t, id, store.MediaFailed)
				if info := p.state(t, id); !strings.Contains(info.Reason, test.want) {
					t.Errorf("%+v", info)
				}
				if _, _, err := p.n.OpenMedia(p.n.Account.ID, p.contact(), id); !errors.Is(err, transfer.ErrNotHere) {
					t.Error(err)
				}
				p.n.Eventually("nothing is left", func() bool { used, _ := p.n.MediaUsage(); return used == 0 })
				p.server.SetFaults(phone.FileFaults{})
				if test.change != nil {
					return
				}
				if _, err := p.n.FetchMedia(t.Context(), p.n.Account.ID, p.contact(), id); err != nil {
					t.Fatal(err)
				}
				p.becomes(t, id, store.MediaStored)
				p.holds(t, id, data)
			})
		})
	}
}

// TestLargeFileWaitsToBeAskedFor: above the limit, and without a size.
func TestLargeFileWaitsToBeAskedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := pack(t, phone.FileFaults{}, func(o *transfer.Options) { o.AutoDownload, o.MaxFile = 1000, 2000 })
		for size, want := range map[int]store.MediaState{1000: store.MediaStored, 1001: store.MediaOffered} {
			data := pattern(size, 1)
			id := p.post(t, phone.Message{Type: phone.File, Payload: p.server.Offer("a", data).Payload()})
			p.becomes(t, id, want)
			if _, err := p.n.FetchMedia(t.Context(), p.n.Account.ID, p.contact(), id); err != nil {
				t.Fatal(err)
			}
			p.becomes(t, id, store.MediaStored)
			p.holds(t, id, data)
		}
		for name, size := range map[string]int64{"too large": 3000, "says nothing": 0} {
			a := p.server.Offer(name, pattern(3000, 2))
			a.Size = size
			id := p.post(t, phone.Message{Type: phone.File, Payload: a.Payload()})
			p.becomes(t, id, store.MediaOffered)
			if _, err := p.n.FetchMedia(t.Context(), p.n.Account.ID, p.contact(), id); err != nil {
				t.Fatal(err)
			}
			if info := p.becomes(t, id, store.MediaFailed); !strings.Contains(info.Reason, "too large") {
				t.Errorf("%s: %+v", name, info)
			}
		}
		id := p.post(t, phone.Message{Type: phone.Text, Payload: []byte("no file")})
		if _, err := p.n.MediaState(p.n.Account.ID, p.contact(), id); !errors.Is(err, transfer.ErrNoMedia) {
			t.Error(err)
		}
	})
}

// TestFilesAreServedToWhomTheyWereOffered, under the guid of the offer, and to
// nobody else.
func TestFilesAreServedToWhomTheyWereOffered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := pack(t, phone.FileFaults{})
		data := pattern(200_000, 8)
		m := p.sends(t, node.OutgoingFile{Body: bytes.NewReader(data), Name: "mine.bin"})
		p.arrives(t, m)
		other := p.w.Phone("other", phone.Quirks{})
		p.n.AddPhone(other.Key())
		other.Write(p.key, "hello")
		p.n.Eventually("the other's session", func() bool { return len(p.n.Stored(other.Key())) == 1 })
		sum := sha256.Sum256(data)
		hash := hex.EncodeToString(sum[:])
		ask := func(who *phone.Phone, guid int64, name, hash string) {
			t.Helper()
			err := who.Session(p.key).Send(phone.Frame{Type: phone.TypeFileRequest, Fields: phone.Fields{"guid": guid, "name": name, "hash": hash}})
			if err != nil {
				t.Fatal(err)
			}
		}
		ask(other, m.ID.GUID, "mine.bin", hash)
		ask(p.p, m.ID.GUID+1, "mine.bin", hash)
		ask(p.p, m.ID.GUID, "../../keys/node.pem", strings.Repeat("00", 32))
		virtual.Sleep(time.Minute)
		if got := len(other.Page(p.key).Received) + len(other.Page(p.key).Files) + len(p.p.Page(p.key).Received) + len(p.p.Page(p.key).Files); got != 1 {
			t.Errorf("%d messages", got)
		}
		ask(p.p, m.ID.GUID, "whatever", hash)
		p.p.Eventually(t, time.Minute, "the file", func() bool { return len(p.p.Page(p.key).Files) == 1 })
		if got := p.p.Page(p.key).Files[0]; got.Type != phone.FileResponse || !bytes.HasSuffix(got.Payload, data) {
			t.Errorf("type %d, %d bytes", got.Type, len(got.Payload))
		}
	})
}

// TestOldFilesMakeRoom within the share of a contact: the oldest goes first, nothing
// goes that somebody has not seen, and when nothing may go a file waits. Files of
// another contact are not touched, also when they are the same.
func TestOldFilesMakeRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := pack(t, phone.FileFaults{}, func(o *transfer.Options) { o.Quota, o.Consumers = 1_200_000, []string{"reader"} })
		offer := func(seed byte) phone.Message {
			return phone.Message{Type: phone.File, Payload: p.server.Offer(string(seed), pattern(120_000, seed)).Payload()}
		}
		receive := func(seed byte) store.MessageID { return p.post(t, offer(seed)) }
		other := p.w.Phone("other", phone.Quirks{})
		p.n.AddPhone(other.Key())
		guid := other.Post(p.key, offer(1))
		theirs := func() store.MediaState {
			info, err := p.n.MediaState(p.n.Account.ID, identity.PublicKey(other.Key()), store.MessageID{Dir: store.In, GUID: int64(guid)})
			if err != nil {
				return store.MediaOffered
			}
			return info.State
		}
		p.n.EventuallyWithin(time.Hour, "the other's file", func() bool { return theirs() == store.MediaStored })
		first := receive(1)
		p.becomes(t, first, store.MediaStored)
		second := receive(2)
		p.becomes(t, second, store.MediaStored)
		third := receive(3)
		p.n.EventuallyWithin(time.Hour, "it has to wait", func() bool { return strings.Contains(p.state(t, third).Reason, "full") })
		if p.state(t, first).State != store.MediaStored {
			t.Error("removed before it was seen")
		}
		last, err := p.n.LastEvent(p.n.Account.ID)
		if err != nil {
			t.Fatal(err)
		}
		if err := p.n.MoveCursor(t.Context(), "reader", p.n.Account.ID, store.ContactConversation(p.contact()), last); err != nil {
			t.Fatal(err)
		}
		p.becomes(t, third, store.MediaStored)
		p.becomes(t, first, store.MediaEvicted)
		p.holds(t, third, pattern(120_000, 3))
		p.holds(t, second, pattern(120_000, 2))
		if got := theirs(); got != store.MediaStored {
			t.Errorf("the other's file is %s", got)
		}
		f, _, err := p.n.OpenMedia(p.n.Account.ID, identity.PublicKey(other.Key()), store.MessageID{Dir: store.In, GUID: int64(guid)})
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(f); err != nil || !bytes.Equal(got, pattern(120_000, 1)) {
			t.Errorf("the other's file has %d bytes, %v", len(got), err)
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
		if _, err := p.n.SendFile(t.Context(), node.OutgoingFile{Account: p.n.Account.ID, Contact: p.contact(), Body: strings.NewReader("")}); !errors.Is(err, transfer.ErrFileEmpty) {
			t.Error(err)
		}
		// What would never fit is given up, unless a person wants it.
		large := p.post(t, phone.Message{Type: phone.File, Payload: p.server.Offer("large", pattern(400_000, 9)).Payload()})
		if info := p.becomes(t, large, store.MediaFailed); !strings.Contains(info.Reason, "one contact") {
			t.Errorf("%+v", info)
		}
		if _, err := p.n.FetchMedia(t.Context(), p.n.Account.ID, p.contact(), large); err != nil {
			t.Fatal(err)
		}
		p.becomes(t, large, store.MediaStored)
	})
}

// TestPiecesMakeRoom: what never becomes whole keeps nobody from sending.
func TestPiecesMakeRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := pack(t, phone.FileFaults{CutDownload: 1_100_000}, func(o *transfer.Options) { o.Quota = 8_000_000 })
		for seed := range byte(9) {
			p.post(t, phone.Message{Type: phone.File, Payload: p.server.Offer(string('a'+seed), pattern(1_400_000, seed)).Payload()})
		}
		p.n.EventuallyWithin(time.Hour, "pieces", func() bool {
			used, _ := p.n.MediaUsage()
			return used > 4_000_000
		})
		whole := pattern(5_000_000, 77)
		m := p.sends(t, node.OutgoingFile{Body: bytes.NewReader(whole), Name: "ours.bin"})
		p.holds(t, m.ID, whole)
	})
}

// TestSilentServerDoesNotHoldUpOthers: a contact sends many files that are said to
// be on a server that is not there; the file of another contact does not wait for
// all of them.
func TestSilentServerDoesNotHoldUpOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := pack(t, phone.FileFaults{})
		a := p.server.Offer("a", pattern(1000, 1))
		a.Server = strings.Repeat("ab", 32)
		for range 100 {
			p.p.Post(p.key, phone.Message{Type: phone.File, Payload: a.Payload()})
		}
		p.p.Eventually(t, time.Minute, "all are acknowledged", func() bool { return len(p.p.Waiting(p.key)) == 0 })
		other := p.w.Phone("other", phone.Quirks{})
		p.n.AddPhone(other.Key())
		data := pattern(1000, 2)
		guid := other.Post(p.key, phone.Message{Type: phone.File, Payload: p.server.Offer("b", data).Payload()})
		p.n.EventuallyWithin(2*time.Minute, "the other's file", func() bool {
			info, err := p.n.MediaState(p.n.Account.ID, identity.PublicKey(other.Key()), store.MessageID{Dir: store.In, GUID: int64(guid)})
			return err == nil && info.State == store.MediaStored
		})
	})
}
