// SPDX-License-Identifier: MPL-2.0

package answering

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/actors/kernel/kerneltest"
	"github.com/mimird/mimird/actors/media"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/aac"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/peer"
)

// shelf is a media store that keeps files in memory, and fails as often as it is told.
type shelf struct {
	failures int
	kept     [][]byte
}

var errShelf = errors.New("no space at the moment")

func (s *shelf) Keep(_ store.Conversation, src io.Reader, size int64, accept func(store.Media) error) error {
	if s.failures > 0 {
		s.failures--
		return errShelf
	}
	file, err := io.ReadAll(src)
	if err != nil {
		return err
	}
	if int64(len(file)) != size {
		return fmt.Errorf("%d bytes, announced %d", len(file), size)
	}
	s.kept = append(s.kept, file)
	return accept(store.Media{State: store.MediaStored, Hash: media.Hash{byte(len(file))}, Size: size, MIMEType: "audio/x-m4a"})
}

// rig is a machine with a store in which two accounts have two contacts each.
type rig struct {
	*Machine
	t     testing.TB
	shelf *shelf
	now   time.Time
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{t: t, shelf: &shelf{}, now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
	s, err := store.Open(store.Options{Dir: "store", FS: vfs.NewMem()})
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	stage := kerneltest.NewStage(t, kernel.Options{Logger: log})
	writer := stage.Spawn(t, kernel.Spec{Name: "store", Kind: "store", New: func() kernel.Actor { return store.NewActor(s) }})
	t.Cleanup(func() {
		stage.Stop(writer)
		kerneltest.Await[kernel.ChildStopped](t, stage.Probe, time.Minute)
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	r.Machine = New(Deps{
		Dir: filepath.Join(t.TempDir(), "calls"), Store: s, Writer: func() kernel.Ref { return writer }, Files: r.shelf, Log: log,
		Now: func() time.Time { r.now = r.now.Add(time.Second); return r.now },
	})
	for account := range byte(2) {
		r.do(store.PutAccount{Account: store.Account{ID: identity.PublicKey{account + 1}}})
		for contact := range byte(2) {
			r.do(store.AddContact{Contact: store.Contact{
				Account: identity.PublicKey{account + 1}, ID: identity.PublicKey{contact + 8}, State: store.ContactAccepted,
			}})
		}
	}
	return r
}

func (r *rig) do(op store.Op) {
	r.t.Helper()
	if _, err := store.Do[any](r.t.Context(), r.deps.Writer(), op); err != nil {
		r.t.Fatal(err)
	}
}

func conversation(account, contact byte) store.Conversation {
	return store.Conversation{Account: identity.PublicKey{account}, ID: store.ContactConversation(identity.PublicKey{contact})}
}

func units(n int, of string) [][]byte {
	var out [][]byte
	for i := range n {
		out = append(out, fmt.Appendf(nil, "\x01%s %d", of, i))
	}
	return out
}

// record makes a recording of so many units, and returns its path.
func (r *rig) record(c store.Conversation, of [][]byte) string {
	r.t.Helper()
	rec, err := r.create(c)
	if err != nil {
		r.t.Fatal(err)
	}
	for _, u := range of {
		if !rec.add(u) {
			r.t.Fatal("the recording is full")
		}
	}
	if err := rec.flush(); err != nil {
		r.t.Fatal(err)
	}
	r.release(rec)
	return filepath.Join(r.deps.Dir, rec.name)
}

func (r *rig) received(c store.Conversation) []store.Message {
	r.t.Helper()
	page, err := r.deps.Store.Messages(c.Account, c.ID, 0, 0)
	if err != nil {
		r.t.Fatal(err)
	}
	return page
}

// keepOnce makes messages of the recordings that are on the disk.
func (r *rig) keepOnce() error {
	names, err := r.complete()
	if err != nil {
		r.t.Fatal(err)
	}
	var failed []error
	for _, name := range names {
		failed = append(failed, r.keep(r.t.Context(), name))
	}
	return errors.Join(failed...)
}

// A recording is removed when its message is stored, not before; and one that is found
// again changes nothing.
func TestKeep_MessageBeforeRecordingGoes(t *testing.T) {
	r := newRig(t)
	c, other := conversation(1, 8), conversation(2, 9)
	path := r.record(c, units(50, "first"))
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	r.record(other, units(60, "second"))
	r.shelf.failures = 3
	for r.shelf.failures > 0 {
		if err := r.keepOnce(); !errors.Is(err, errShelf) {
			t.Fatalf("without space: %v", err)
		}
		if _, err := os.Stat(path); err != nil && len(r.received(c)) == 0 {
			t.Fatalf("neither a recording nor a message: %v", err)
		}
	}
	for range 2 {
		if err := r.keepOnce(); err != nil {
			t.Fatal(err)
		}
		for _, c := range []store.Conversation{c, other} {
			if got := r.received(c); len(got) != 1 || peer.MessageType(got[0].Type) != peer.TypeFile {
				t.Errorf("%d messages", len(got))
			}
		}
		if err := os.WriteFile(path, content, 0o600); err != nil { // as after a crash
			t.Fatal(err)
		}
	}
	audio, err := aac.Parse(r.shelf.kept[0])
	if err != nil || !slices.EqualFunc(audio.Units, units(len(audio.Units), "first"), bytes.Equal) && !slices.EqualFunc(audio.Units, units(len(audio.Units), "second"), bytes.Equal) {
		t.Errorf("%d units, %v", len(audio.Units), err)
	}
}

// TestKeep_CutOrDamaged cuts a recording at every byte, as a power cut may: the whole packets
// become a message. A recording with a damaged header is set aside.
func TestKeep_CutOrDamaged(t *testing.T) {
	r := newRig(t)
	c := conversation(1, 8)
	all := units(50, "word")
	path := r.record(c, all)
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	read := func(b []byte) (recorded, error) {
		t.Helper()
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		return readRecording(path)
	}
	before := 0
	for n := range len(content) + 1 {
		got, err := read(content[:n])
		if n < recordingHeader {
			if !errors.Is(err, errNotRecording) {
				t.Fatalf("%d bytes: %v", n, err)
			}
			continue
		}
		if err != nil || got.Conversation != c || len(got.sizes) < before || got.bytes+got.cut > int64(n) {
			t.Fatalf("%d bytes: %+v, %v", n, got, err)
		}
		before = len(got.sizes)
	}
	if before != len(all) {
		t.Errorf("%d of %d units of a whole recording", before, len(all))
	}
	for at := recordingHeader; at < len(content); at += 37 {
		damaged := slices.Clone(content)
		damaged[at] ^= 1
		if got, err := read(damaged); err != nil || len(got.sizes) >= len(all) && got.config == aac.Call() || got.cut == 0 {
			t.Errorf("damaged at %d: %d units, %d bytes cut, %v", at, len(got.sizes), got.cut, err)
		}
	}
	damaged := slices.Clone(content)
	damaged[20] ^= 1
	if _, err := read(damaged); !errors.Is(err, errNotRecording) {
		t.Errorf("a damaged header: %v", err)
	}
	if err := r.keepOnce(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path + damagedEnding); err != nil || len(r.received(c)) != 0 {
		t.Errorf("a damaged recording: %v, %d messages", err, len(r.received(c)))
	}
}

// TestRecording_Bounds holds the bounds: units and bytes of a recording, bytes in memory while
// the disk is slow, calls at a time, and recordings that wait. A contact that was removed
// leaves no recording.
func TestRecording_Bounds(t *testing.T) {
	r := newRig(t)
	c := conversation(1, 8)
	rec, err := r.create(c)
	if err != nil {
		t.Fatal(err)
	}
	most := int(defaultMaxMessage/aac.Call().Duration(1)) + 1
	for i := range most {
		if !rec.add([]byte{1}) {
			t.Fatalf("full with %d units", i)
		}
	}
	if rec.add([]byte{1}) {
		t.Error("more units than the longest message has")
	}
	r.release(rec)
	if rec, err = r.create(c); err != nil {
		t.Fatal(err)
	}
	large := make([]byte, aac.MaxUnit)
	for range 2 * maxPending / len(large) {
		rec.add(large)
	}
	if _, dropped := rec.counts(); dropped == 0 || len(rec.pending) > maxPending+len(large) {
		t.Errorf("%d bytes wait for the disk, %d units dropped", len(rec.pending), dropped)
	}
	for rec.add(large) {
		if err := rec.flush(); err != nil {
			t.Fatal(err)
		}
		if rec.bytes > 120*maxRate {
			t.Fatal("no bound for the bytes")
		}
	}
	r.release(rec)
	var open []*recording
	for range maxCalls {
		rec, err := r.create(c)
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, rec)
	}
	if _, err := r.create(c); !errors.Is(err, errCalls) {
		t.Errorf("one call more: %v", err)
	}
	for _, rec := range open {
		r.release(rec)
	}
	for range maxRecordings {
		r.record(c, units(1, "x"))
	}
	if _, err := r.complete(); err != nil {
		t.Fatal(err)
	}
	if _, err := r.create(c); !errors.Is(err, errWaiting) {
		t.Errorf("one recording more: %v", err)
	}
	if err := r.keepOnce(); err != nil {
		t.Fatal(err)
	}
	if names, err := r.complete(); err != nil || len(names) != 0 || len(r.received(c)) != 1 { // the one with large units
		t.Errorf("%d recordings left, %d messages, %v", len(names), len(r.received(c)), err)
	}
	r.record(c, units(50, "gone"))
	r.do(store.RemoveContact{Account: c.Account, Contact: c.Contact()})
	if err := r.keepOnce(); err != nil {
		t.Fatal(err)
	}
	if names, err := r.complete(); err != nil || len(names) != 0 {
		t.Errorf("%d recordings of a removed contact, %v", len(names), err)
	}
}

// FuzzRecording reads files of any content in bounded memory. Audio that was read from one
// is the same when it is written and read again.
func FuzzRecording(f *testing.F) {
	dir := f.TempDir()
	header := make([]byte, recordingHeader)
	f.Add(header)
	f.Add(appendPacket(appendPacket(nil, []byte{0x12, 0x08}), []byte("unit")))
	f.Fuzz(func(t *testing.T, packets []byte) {
		src := bytes.NewReader(packets)
		var sizes []uint32
		total := 0
		for {
			data, err := readPacket(src)
			if err != nil {
				break
			}
			sizes, total = append(sizes, uint32(len(data))), total+len(data)
		}
		if len(sizes) > 0 {
			u, err := newUnitReader(bytes.NewReader(packets), len(sizes)-1)
			if err != nil {
				t.Fatal(err)
			}
			audio, err := io.ReadAll(u)
			if err != nil || len(audio) != total-int(sizes[0]) {
				t.Fatalf("%d bytes of audio, want %d: %v", len(audio), total-int(sizes[0]), err)
			}
		}
		path := filepath.Join(dir, "fuzz.call")
		if err := os.WriteFile(path, packets, 0o600); err != nil {
			t.Fatal(err)
		}
		if r, err := readRecording(path); err == nil && r.bytes > int64(len(packets)) {
			t.Fatalf("%d bytes of audio in %d bytes", r.bytes, len(packets))
		}
	})
}
