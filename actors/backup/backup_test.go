// SPDX-License-Identifier: MPL-2.0

package backup_test

import (
	"archive/tar"
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"go.uber.org/goleak"

	"github.com/mimird/mimird/actors/backup"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// content is a directory with files.
func content(t *testing.T) (dir string, files map[string]string) {
	t.Helper()
	noise := make([]byte, 300_000)
	_, _ = rand.Read(noise)
	files = map[string]string{
		"mimird.yaml": "roles: [node]\n", "keys/node.pem": "secret", "store/000001.sst": string(noise),
		"store/MANIFEST-000002": "", "store/deep/er": "x",
	}
	dir = t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir, files
}

func written(t *testing.T, dir string) []byte {
	t.Helper()
	var b bytes.Buffer
	if _, err := backup.Write(&b, dir, backup.About{Version: "test", Node: "n", Created: time.Unix(1e9, 0).UTC()}); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestBackupComesBack(t *testing.T) {
	dir, files := content(t)
	var b bytes.Buffer
	encrypted, err := backup.Encrypt(&b, "correct horse")
	if err != nil {
		t.Fatal(err)
	}
	about, err := backup.Write(encrypted, dir, backup.About{Version: "1.2", Node: "abc", Accounts: []string{"mimir://mm/u/00/x"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := encrypted.Close(); err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(b.Bytes(), []byte("secret")) {
		t.Error("a secret can be read in the encrypted backup")
	}
	if !regexp.MustCompile("^age-encryption.org/v1\n-> scrypt [^ ]+ 18\n").Match(b.Bytes()) {
		t.Errorf("trying a passphrase costs something else: %.80q", b.Bytes())
	}
	plain, err := backup.Decrypt(&b, func() (string, error) { return "correct horse", nil })
	if err != nil {
		t.Fatal(err)
	}
	target := filepath.Join(t.TempDir(), "restored")
	got, err := backup.Read(plain, target)
	if err != nil {
		t.Fatal(err)
	}
	if got.Version != "1.2" || got.Node != "abc" || len(got.Accounts) != 1 || !slices.Equal(got.Files, about.Files) || got.Size() != about.Size() {
		t.Errorf("about %+v, want %+v", got, about)
	}
	for name, text := range files {
		path := filepath.Join(target, filepath.FromSlash(name))
		raw, err := os.ReadFile(path)
		if err != nil || string(raw) != text {
			t.Errorf("%s: %d bytes, %v", name, len(raw), err)
		}
		info, err := os.Stat(path)
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v", name, info.Mode())
		}
	}
	info, err := os.Stat(filepath.Join(target, "keys"))
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("keys: %v %v", info.Mode(), err)
	}
}

func TestWrongPassphrase(t *testing.T) {
	var b bytes.Buffer
	encrypted, err := backup.Encrypt(&b, "right")
	if err != nil {
		t.Fatal(err)
	}
	if err := encrypted.Close(); err != nil {
		t.Fatal(err)
	}
	for passphrase, want := range map[string]error{"wrong": backup.ErrPassphrase, "right": nil} {
		_, err := backup.Decrypt(bytes.NewReader(b.Bytes()), func() (string, error) { return passphrase, nil })
		if !errors.Is(err, want) {
			t.Errorf("%s: %v", passphrase, err)
		}
	}
	plain, err := backup.Decrypt(strings.NewReader("not encrypted"), func() (string, error) {
		t.Error("asked for a passphrase without need")
		return "", nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if text, err := io.ReadAll(plain); string(text) != "not encrypted" || err != nil {
		t.Errorf("%q %v", text, err)
	}
}

// Every way to shorten or change a backup is noticed, and nothing panics.
func TestDamagedBackupIsRefused(t *testing.T) {
	dir, _ := content(t)
	whole := written(t, dir)
	for at := 0; at < len(whole); at += 1 + len(whole)/10 {
		if _, err := backup.Read(bytes.NewReader(whole[:at]), t.TempDir()); !errors.Is(err, backup.ErrDamaged) {
			t.Errorf("cut at %d: %v", at, err)
		}
		if _, err := backup.Verify(bytes.NewReader(whole[:at])); !errors.Is(err, backup.ErrDamaged) {
			t.Errorf("cut at %d and verified: %v", at, err)
		}
		flipped := slices.Clone(whole)
		flipped[at] ^= 0x10
		// A bit that means nothing, such as one of the compression, may go unnoticed;
		// then everything is as it was.
		_, err := backup.Read(bytes.NewReader(flipped), t.TempDir())
		if err != nil && !errors.Is(err, backup.ErrDamaged) {
			t.Errorf("flipped at %d: %v", at, err)
		}
		if _, verified := backup.Verify(bytes.NewReader(flipped)); (verified == nil) != (err == nil) {
			t.Errorf("flipped at %d: %v when read, %v when verified", at, err, verified)
		}
	}
}

func TestVerify_WholeBackup_NamesFiles(t *testing.T) {
	dir, files := content(t)
	about, err := backup.Verify(bytes.NewReader(written(t, dir)))
	if err != nil || len(about.Files) != len(files) || about.Version != "test" {
		t.Errorf("%+v, %v", about, err)
	}
}

// archive makes a backup by hand.
func archive(t *testing.T, entries ...tar.Header) io.Reader {
	t.Helper()
	var b bytes.Buffer
	z, err := zstd.NewWriter(&b)
	if err != nil {
		t.Fatal(err)
	}
	w := tar.NewWriter(z)
	for _, h := range entries {
		text := h.Linkname
		if h.Typeflag == tar.TypeReg {
			h.Linkname, h.Size = "", int64(len(text))
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if h.Typeflag == tar.TypeReg {
			if _, err := io.WriteString(w, text); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := errors.Join(w.Close(), z.Close()); err != nil {
		t.Fatal(err)
	}
	return &b
}

func TestHostileBackupLeavesItsDirectoryAlone(t *testing.T) {
	file := func(name, text string) tar.Header {
		return tar.Header{Typeflag: tar.TypeReg, Name: name, Linkname: text}
	}
	for name, entries := range map[string][]tar.Header{
		"upwards":       {file("../evil", "x")},
		"absolute":      {file("/tmp/evil", "x")},
		"inner upwards": {file("a/../../evil", "x")},
		"symlink":       {{Typeflag: tar.TypeSymlink, Name: "keys", Linkname: "/etc"}},
		"hard link":     {{Typeflag: tar.TypeLink, Name: "keys", Linkname: "/etc/passwd"}},
		"device":        {{Typeflag: tar.TypeChar, Name: "dev"}},
		"backslash":     {file(`..\evil`, "x")},
		"drive":         {file("c:evil", "x")},
		"long name":     {file(strings.Repeat("x", 300), "x")},
		"twice":         {file("a", "x"), file("a", "y")},
		"no about":      {file("a", "x")},
		"other files":   {file("a", "x"), file("mimird-backup.json", `{"format":1,"files":[{"name":"b","size":1,"sha256":""}]}`)},
		"missing files": {file("mimird-backup.json", `{"format":1,"files":[{"name":"b","size":1,"sha256":""}]}`)},
		"not JSON":      {file("mimird-backup.json", `{`)},
		"newer":         {file("mimird-backup.json", `{"format":2,"files":7}`)},
	} {
		parent := t.TempDir()
		_, err := backup.Read(archive(t, entries...), filepath.Join(parent, "d"))
		want := backup.ErrDamaged
		if name == "newer" {
			want = backup.ErrNewer
		}
		if name == "twice" {
			want = os.ErrExist
		}
		if !errors.Is(err, want) {
			t.Errorf("%s: %v", name, err)
		}
		if entries, _ := os.ReadDir(parent); len(entries) > 1 {
			t.Errorf("%s: wrote outside: %v", name, entries)
		}
	}
	if _, err := backup.Read(strings.NewReader("no backup at all"), t.TempDir()); !errors.Is(err, backup.ErrDamaged) {
		t.Errorf("garbage: %v", err)
	}
}

func TestReadNeverWritesIntoWhatIsThere(t *testing.T) {
	dir, _ := content(t)
	if _, err := backup.Read(bytes.NewReader(written(t, dir)), dir); err == nil || errors.Is(err, backup.ErrDamaged) {
		t.Errorf("into a directory in use: %v", err)
	}
}

func FuzzRead(f *testing.F) {
	f.Add([]byte("x"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		var z bytes.Buffer
		w, err := zstd.NewWriter(&z)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = w.Write(raw)
		_ = w.Close()
		for _, in := range [][]byte{raw, z.Bytes()} {
			if _, err := backup.Read(bytes.NewReader(in), t.TempDir()); err == nil {
				t.Error("garbage was taken for a backup")
			}
		}
	})
}
