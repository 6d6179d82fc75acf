// SPDX-License-Identifier: MPL-2.0

package media_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/mimird/mimird/actors/media"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t *testing.T, opts media.Options) *media.Store {
	t.Helper()
	if opts.Dir == "" {
		opts.Dir = filepath.Join(t.TempDir(), "media")
	}
	s, err := media.Open(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func put(t *testing.T, s *media.Store, content []byte) media.Info {
	t.Helper()
	w, err := s.Create()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(content); err != nil {
		t.Fatal(err)
	}
	info, err := w.Commit()
	if err != nil {
		t.Fatal(err)
	}
	return info
}

func content(t *testing.T, s *media.Store, h media.Hash) string {
	t.Helper()
	f, err := s.Open(h)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	b, err := io.ReadAll(f)
	if err != nil || int64(len(b)) != f.Size {
		t.Fatalf("%d bytes of %d, %v", len(b), f.Size, err)
	}
	return string(b)
}

func used(s *media.Store) int64 {
	n, _ := s.Used()
	return n
}

func TestStore_SameContent_OneFile(t *testing.T) {
	s := open(t, media.Options{})
	a, b := put(t, s, []byte("the same")), put(t, s, []byte("the same"))
	if a != b || a.Hash != media.Hash(sha256.Sum256([]byte("the same"))) || a.Size != 8 || a.MIMEType != "text/plain" {
		t.Errorf("%+v, %+v", a, b)
	}
	if used(s) != 8 || content(t, s, a.Hash) != "the same" {
		t.Errorf("%d bytes", used(s))
	}
	if err := errors.Join(s.Remove(a.Hash), s.Remove(a.Hash)); err != nil || used(s) != 0 || s.Has(a.Hash) {
		t.Errorf("%v, %d bytes", err, used(s))
	}
	if _, err := s.Open(a.Hash); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

// TestOpen_UnfinishedFiles_Removed: what was being written is removed, what is
// whole stays, and pieces go on.
func TestOpen_UnfinishedFiles_Removed(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "media")
	s := open(t, media.Options{Dir: dir})
	kept := put(t, s, []byte("kept"))
	w, err := s.Create()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte("never finished")); err != nil {
		t.Fatal(err)
	}
	whole := sha256.Sum256([]byte("first second"))
	p, err := s.Resume(whole)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Write([]byte("first ")); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Resume(whole); !errors.Is(err, media.ErrBusy) {
		t.Errorf("two writers: %v", err)
	}
	// A process that ends here closes nothing.
	if err := os.WriteFile(filepath.Join(dir, "README"), []byte("not ours"), 0o600); err != nil {
		t.Fatal(err)
	}
	again := open(t, media.Options{Dir: dir})
	if used(again) != int64(len("kept")+len("first ")) || content(t, again, kept.Hash) != "kept" {
		t.Errorf("%d bytes", used(again))
	}
	p, err = again.Resume(whole)
	if err != nil || p.Size() != 6 {
		t.Fatal(err)
	}
	if _, err := p.Write([]byte("second")); err != nil || p.Sum() != media.Hash(whole) {
		t.Errorf("%v, %s", err, p.Sum())
	}
	if b, err := io.ReadAll(p.Reader()); string(b) != "first second" || err != nil {
		t.Errorf("%q, %v", b, err)
	}
	if err := again.RemovePartials(func(media.Hash) bool { return false }); err != nil || used(again) != 16 {
		t.Errorf("a piece in use was removed: %v, %d", err, used(again))
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	if err := again.RemovePartials(func(h media.Hash) bool { return h != media.Hash(whole) }); err != nil || used(again) != 4 {
		t.Errorf("%v, %d bytes", err, used(again))
	}
	if _, err := os.Stat(filepath.Join(dir, "README")); err != nil {
		t.Error(err)
	}
}

// TestEvictPartials: the oldest pieces go, those in use stay.
func TestEvictPartials(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "media")
	s := open(t, media.Options{Dir: dir})
	piece := func(b byte, keep bool) *media.Partial {
		p, err := s.Resume(media.Hash{b})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.Write(make([]byte, 100)); err != nil {
			t.Fatal(err)
		}
		at := time.Unix(int64(b), 0)
		if err := os.Chtimes(filepath.Join(dir, "partial", "part-"+media.Hash{b}.String()), at, at); err != nil {
			t.Fatal(err)
		}
		if keep {
			return p
		}
		if err := p.Close(); err != nil {
			t.Fatal(err)
		}
		return nil
	}
	inUse := piece(1, true)
	for b := byte(5); b > 1; b-- {
		piece(b, false)
	}
	if freed, err := s.EvictPartials(150); freed != 200 || err != nil || used(s) != 300 {
		t.Errorf("%d bytes, %v, %d in use", freed, err, used(s))
	}
	for b, want := range map[byte]int64{1: 100, 2: 0, 3: 0, 4: 100, 5: 100} {
		if b == 1 {
			continue
		}
		p, err := s.Resume(media.Hash{b})
		if err != nil || p.Size() != want {
			t.Errorf("piece %d has %d bytes, %v", b, p.Size(), err)
			continue
		}
		if err := p.Remove(); err != nil {
			t.Error(err)
		}
	}
	if freed, err := s.EvictPartials(1 << 20); freed != 0 || err != nil || inUse.Size() != 100 {
		t.Errorf("in use: %d bytes, %v", freed, err)
	}
	if err := inUse.Remove(); err != nil || used(s) != 0 {
		t.Errorf("%v, %d bytes", err, used(s))
	}
}

func TestPieceBeginsAgain(t *testing.T) {
	s := open(t, media.Options{})
	p, err := s.Resume(media.Hash{1})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Write([]byte("wrong")); err != nil {
		t.Fatal(err)
	}
	if err := p.Reset(); err != nil || used(s) != 0 || p.Size() != 0 {
		t.Errorf("%v, %d", err, used(s))
	}
	if _, err := p.Write([]byte("right")); err != nil || p.Sum() != media.Hash(sha256.Sum256([]byte("right"))) {
		t.Errorf("%v, %s", err, p.Sum())
	}
	if err := p.Remove(); err != nil || used(s) != 0 {
		t.Errorf("%v, %d", err, used(s))
	}
}

// TestQuota: nothing is written beyond it, room is asked for, and what was refused
// leaves nothing behind.
func TestQuota(t *testing.T) {
	var s *media.Store
	var old media.Info
	asked := 0
	s = open(t, media.Options{Quota: 100, Evict: func(n int64) error {
		asked++
		if asked > 1 {
			return media.ErrFull
		}
		return s.Remove(old.Hash)
	}})
	old = put(t, s, make([]byte, 60))
	fits := put(t, s, bytes.Repeat([]byte{1}, 90))
	if asked != 1 || used(s) != 90 || !s.Has(fits.Hash) || s.Has(old.Hash) {
		t.Errorf("asked %d times, %d bytes", asked, used(s))
	}
	w, err := s.Create()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(make([]byte, 11)); !errors.Is(err, media.ErrFull) {
		t.Error(err)
	}
	w.Discard()
	if used(s) != 90 {
		t.Errorf("%d bytes", used(s))
	}
	low := open(t, media.Options{DiskLow: func() bool { return true }})
	if w, err = low.Create(); err != nil {
		t.Fatal(err)
	}
	defer w.Discard()
	if _, err := w.Write([]byte("x")); !errors.Is(err, media.ErrDiskFull) {
		t.Error(err)
	}
}

// TestStoreStaysInside: a symbolic link inside the directory leads nowhere.
//
// Bar S17
func TestStoreStaysInside(t *testing.T) {
	dir, outside := filepath.Join(t.TempDir(), "media"), t.TempDir()
	s := open(t, media.Options{Dir: dir})
	h := media.Hash(sha256.Sum256([]byte("x")))
	if err := os.Symlink(outside, filepath.Join(dir, "files", h.String()[:2])); err != nil {
		t.Fatal(err)
	}
	w, err := s.Create()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Commit(); err == nil {
		t.Error("written through a link")
	}
	if left, err := os.ReadDir(outside); len(left) != 0 || err != nil {
		t.Errorf("%v, %v", left, err)
	}
}

func TestFilesArePrivate(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "media")
	s := open(t, media.Options{Dir: dir})
	put(t, s, []byte("secret"))
	err := filepath.Walk(dir, func(path string, info fs.FileInfo, err error) error {
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// bomb is the header of a PNG of that size.
func bomb(width, height uint32) []byte {
	b := []byte("\x89PNG\r\n\x1a\n\x00\x00\x00\x0d")
	ihdr := binary.BigEndian.AppendUint32([]byte("IHDR"), width)
	ihdr = append(binary.BigEndian.AppendUint32(ihdr, height), 8, 2, 0, 0, 0)
	return binary.BigEndian.AppendUint32(append(b, ihdr...), crc32.ChecksumIEEE(ihdr))
}

// TestType_ByContent: the sender's word does not count.
//
// Bar S17
func TestType_ByContent(t *testing.T) {
	s := open(t, media.Options{})
	for want, b := range map[string][]byte{
		"image/png": bomb(1, 1), "text/plain": []byte("hello"), "application/pdf": []byte("%PDF-1.7\n"),
		media.Unknown: {0, 1, 2, 3}, "image/jpeg": []byte("\xff\xd8\xff\xe0"),
	} {
		if got := put(t, s, b).MIMEType; got != want {
			t.Errorf("%q is %s, want %s", b, got, want)
		}
	}
}

func TestHashText(t *testing.T) {
	h := media.Hash(sha256.Sum256(nil))
	var back media.Hash
	if err := back.UnmarshalText([]byte(h.String())); err != nil || back != h {
		t.Errorf("%s, %v", back, err)
	}
	for _, bad := range []string{"", "../../etc/passwd", h.String()[1:], h.String() + "0", "zz" + h.String()[2:]} {
		if _, err := media.ParseHash(bad); err == nil {
			t.Errorf("%q is a hash", bad)
		}
	}
}
