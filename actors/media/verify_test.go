// SPDX-License-Identifier: MPL-2.0

package media_test

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/mimird/mimird/actors/media"
)

// spoil flips a bit of a stored file. Without a trace its time of change stays as it
// was.
func spoil(t *testing.T, dir string, h media.Hash, at int, trace bool) {
	t.Helper()
	path := filepath.Join(dir, "files", h.String()[:2], h.String())
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	content[at] ^= 1
	changed := info.ModTime()
	if trace {
		changed = changed.Add(time.Second)
	}
	if err := errors.Join(os.WriteFile(path, content, 0o600), os.Chtimes(path, changed, changed)); err != nil {
		t.Fatal(err)
	}
}

// Bar R12: not one byte of a damaged file is given out to any caller; what is put in
// again afterwards is whole.
func TestVerify_DamagedFileIsNotGivenOut(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "media")
	var damaged []media.Hash
	s := open(t, media.Options{Dir: dir, OnDamage: func(h media.Hash) { damaged = append(damaged, h) }})
	content := bytes.Repeat([]byte("0123456789abcdef"), 10_000)
	other := put(t, s, []byte("another one"))
	info := put(t, s, content)
	spoil(t, dir, info.Hash, 99_999, true)
	if err := s.Verify(info.Hash); !errors.Is(err, media.ErrDamaged) || !s.Has(info.Hash) {
		t.Errorf("looked at: %v", err)
	}
	if f, err := s.Open(info.Hash); !errors.Is(err, media.ErrDamaged) {
		t.Errorf("opened: %+v, %v", f, err)
	}
	if !slices.Equal(damaged, []media.Hash{info.Hash}) || s.Has(info.Hash) || used(s) != other.Size {
		t.Errorf("told of %v, %d bytes in use", damaged, used(s))
	}
	if _, err := s.Open(info.Hash); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("opened again: %v", err)
	}
	// It is kept for a person to look at, and does not count.
	kept := filepath.Join(dir, "files", info.Hash.String()[:2], info.Hash.String()+".damaged")
	if _, err := os.Stat(kept); err != nil {
		t.Error(err)
	}
	if again := put(t, s, content); again != info || used(s) != other.Size+info.Size {
		t.Errorf("%+v, %d bytes in use", again, used(s))
	}
	if got := contentOf(t, s, info.Hash); !bytes.Equal(got, content) {
		t.Errorf("%d bytes", len(got))
	}
	if err := errors.Join(s.Verify(other.Hash), s.Verify(info.Hash)); err != nil {
		t.Error(err)
	}
}

func contentOf(t *testing.T, s *media.Store, h media.Hash) []byte {
	t.Helper()
	return []byte(content(t, s, h))
}

// A file that is put in again must not be taken for one that is there and damaged.
func TestVerify_DamagedFileIsReplaced(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "media")
	s := open(t, media.Options{Dir: dir})
	text := []byte("what was stored")
	info := put(t, s, text)
	spoil(t, dir, info.Hash, 3, true)
	put(t, s, text)
	if got := contentOf(t, s, info.Hash); !bytes.Equal(got, text) || used(s) != info.Size {
		t.Errorf("%q, %d bytes in use", got, used(s))
	}
}

// What is damaged after it was hashed, without a trace, is noticed before its last
// byte is given out, however it is read.
func TestVerify_HashedAgainWhileItIsRead(t *testing.T) {
	for name, read := range map[string]func(f *media.File) (int64, error){
		"copied": func(f *media.File) (int64, error) { return io.Copy(io.Discard, f) },
		"after its header": func(f *media.File) (int64, error) {
			if _, err := io.CopyN(io.Discard, f, 100); err != nil {
				return 0, err
			}
			if _, err := f.Seek(0, io.SeekStart); err != nil {
				return 0, err
			}
			return io.Copy(io.Discard, f)
		},
		"in sections": func(f *media.File) (int64, error) {
			return io.Copy(io.Discard, io.NewSectionReader(f, 0, f.Size))
		},
		"in small pieces": func(f *media.File) (n int64, err error) {
			for piece := make([]byte, 7); err == nil; {
				var m int
				m, err = f.Read(piece)
				n += int64(m)
			}
			return n, err
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "media")
			told := 0
			s := open(t, media.Options{Dir: dir, OnDamage: func(media.Hash) { told++ }})
			info := put(t, s, bytes.Repeat([]byte{1, 2, 3}, 50_000))
			f, err := s.Open(info.Hash)
			if err != nil {
				t.Fatal(err)
			}
			if n, err := read(f); n != info.Size || err != nil && !errors.Is(err, io.EOF) {
				t.Errorf("undamaged: %d bytes, %v", n, err)
			}
			if err := f.Close(); err != nil {
				t.Error(err)
			}
			spoil(t, dir, info.Hash, 5, false)
			if f, err = s.Open(info.Hash); err != nil {
				t.Fatal(err) // it was hashed, and looks the same
			}
			n, err := read(f)
			if n >= info.Size || !errors.Is(err, media.ErrDamaged) || told != 1 || s.Has(info.Hash) {
				t.Errorf("%d bytes of %d, %v, told %d times", n, info.Size, err, told)
			}
			if err := f.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// Of two who read a damaged file one is slow: what was put in again meanwhile is not
// taken for it.
func TestVerify_LateReaderLeavesTheNewFile(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "media")
	told := 0
	s := open(t, media.Options{Dir: dir, OnDamage: func(media.Hash) { told++ }})
	text := bytes.Repeat([]byte("what was stored"), 1000)
	info := put(t, s, text)
	var readers []*media.File
	for range 2 {
		f, err := s.Open(info.Hash)
		if err != nil {
			t.Fatal(err)
		}
		readers = append(readers, f)
	}
	spoil(t, dir, info.Hash, 3, false)
	for i, f := range readers {
		if _, err := io.Copy(io.Discard, f); !errors.Is(err, media.ErrDamaged) {
			t.Errorf("reader %d: %v", i, err)
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
		if i == 0 {
			put(t, s, text)
		}
	}
	if told != 1 || !s.Has(info.Hash) || used(s) != info.Size {
		t.Errorf("told %d times, there: %t, %d bytes in use", told, s.Has(info.Hash), used(s))
	}
	if got := contentOf(t, s, info.Hash); !bytes.Equal(got, text) {
		t.Errorf("%d bytes", len(got))
	}
}

// A store that is only looked at changes nothing, and says what is damaged.
func TestVerify_ReadOnly(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "media")
	s := open(t, media.Options{Dir: dir})
	info := put(t, s, []byte("what was stored"))
	spoil(t, dir, info.Hash, 0, true)
	w, err := s.Create()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Discard()
	look := open(t, media.Options{Dir: dir, ReadOnly: true})
	for range 2 {
		if _, err := look.Open(info.Hash); !errors.Is(err, media.ErrDamaged) || !look.Has(info.Hash) {
			t.Errorf("%v", err)
		}
	}
	if entries, err := os.ReadDir(filepath.Join(dir, "partial")); len(entries) != 1 || err != nil {
		t.Errorf("what is being written was removed: %v, %v", entries, err)
	}
	missing := filepath.Join(t.TempDir(), "missing")
	look = open(t, media.Options{Dir: missing, ReadOnly: true})
	err = look.Each(func(media.Hash, int64) error { return errors.New("a file") })
	if _, openErr := look.Open(info.Hash); err != nil || !errors.Is(openErr, fs.ErrNotExist) || look.Has(info.Hash) {
		t.Errorf("no directory: %v, %v", err, openErr)
	}
	if _, err := os.Stat(missing); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("it was created: %v", err)
	}
}

// Two who write the same content at the same time: it is there once, and counted
// once.
func TestTwoWritersOfOneContentAreCountedOnce(t *testing.T) {
	s := open(t, media.Options{})
	const writers = 16
	text := bytes.Repeat([]byte("x"), 1000)
	var ready, done sync.WaitGroup
	ready.Add(writers)
	for range writers {
		w, err := s.Create()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(text); err != nil {
			t.Fatal(err)
		}
		done.Go(func() {
			ready.Done()
			ready.Wait()
			if info, err := w.Commit(); err != nil || info.Size != 1000 {
				t.Errorf("%+v, %v", info, err)
			}
		})
	}
	done.Wait()
	if used(s) != 1000 {
		t.Errorf("%d bytes in use", used(s))
	}
}
