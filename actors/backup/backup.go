// SPDX-License-Identifier: MPL-2.0

package backup

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/mimird/mimird/actors/durable"
)

// Format is the version of the format that this program writes. It reads all up
// to it.
const Format = 1

const (
	aboutName = "mimird-backup.json"
	maxAbout  = 16 << 20
	// maxFiles and maxName bound what a backup may make us create.
	maxFiles = 100_000
	maxName  = 255
	// maxWindow bounds the memory that decompressing takes.
	maxWindow = 32 << 20
)

var (
	// ErrDamaged means that a backup is not what was written: cut short or changed.
	ErrDamaged = errors.New("the backup is damaged or incomplete")
	// ErrNewer means that a newer version of this program wrote the backup.
	ErrNewer = errors.New("the backup was made by a newer version of this program")
)

// About is what a backup says of itself.
type About struct {
	Format  int       `json:"format"`
	Created time.Time `json:"created"`
	Version string    `json:"version"`
	// Node is the node key, Accounts are the links of the identities.
	Node     string   `json:"node"`
	Accounts []string `json:"accounts"`
	// Left are things of the node that are not in the backup, one sentence each.
	Left  []string `json:"left_out,omitempty"`
	Files []File   `json:"files"`
}

// File is one file of a backup.
type File struct {
	// Name is the path below the data directory, with slashes.
	Name   string `json:"name"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
}

// Size is the number of bytes in all files.
func (a About) Size() (n int64) {
	for _, f := range a.Files {
		n += f.Size
	}
	return n
}

// Write writes the regular files below dir, which must not change meanwhile. It
// fills in Format and Files of about and returns it.
func Write(w io.Writer, dir string, about About) (About, error) {
	about.Format, about.Files = Format, nil
	compressed, err := zstd.NewWriter(w)
	if err != nil {
		return about, fmt.Errorf("write backup: %w", err)
	}
	archive := tar.NewWriter(compressed)
	err = filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		f, err := writeFile(archive, path, filepath.ToSlash(name))
		about.Files = append(about.Files, f)
		if err == nil && f.damaged() {
			about.Left = append(about.Left, "the content of "+f.Name+", which is damaged on the disk")
		}
		return err
	})
	if err == nil {
		err = writeAbout(archive, about)
	}
	if err == nil {
		err = archive.Close()
	}
	if err = errors.Join(err, compressed.Close()); err != nil {
		return about, fmt.Errorf("write backup: %w", err)
	}
	return about, nil
}

// damaged reports whether a file that is named by its hash has another one.
func (f File) damaged() bool {
	name := path.Base(f.Name)
	raw, err := hex.DecodeString(name)
	return err == nil && len(raw) == sha256.Size && name != f.SHA256
}

func writeFile(archive *tar.Writer, path, name string) (File, error) {
	if !validName(name) {
		return File{}, fmt.Errorf("%q cannot be the name of a file in a backup", name)
	}
	f, err := os.Open(path)
	if err != nil {
		return File{}, err
	}
	defer func() { _ = f.Close() }() // only read
	info, err := f.Stat()
	if err != nil {
		return File{}, err
	}
	err = archive.WriteHeader(&tar.Header{
		Typeflag: tar.TypeReg, Name: name, Mode: 0o600, Size: info.Size(), ModTime: info.ModTime(), Format: tar.FormatPAX,
	})
	if err != nil {
		return File{}, err
	}
	sum := sha256.New()
	if _, err := io.CopyN(io.MultiWriter(archive, sum), f, info.Size()); err != nil {
		return File{}, fmt.Errorf("%s: %w", name, err)
	}
	return File{name, info.Size(), hex.EncodeToString(sum.Sum(nil))}, nil
}

func writeAbout(archive *tar.Writer, about About) error {
	raw, err := json.MarshalIndent(about, "", "  ")
	if err != nil {
		return err
	}
	header := &tar.Header{Typeflag: tar.TypeReg, Name: aboutName, Mode: 0o600, Size: int64(len(raw)), ModTime: about.Created, Format: tar.FormatPAX}
	if err := archive.WriteHeader(header); err != nil {
		return err
	}
	_, err = archive.Write(raw)
	return err
}

// Read writes the files of a backup below dir, which must not exist or be empty,
// and returns when all of them are on the disk and are what was backed up. On an
// error dir may have some of them; it is for the caller to remove.
//
// Errors: [ErrDamaged], [ErrNewer].
func Read(r io.Reader, dir string) (About, error) {
	compressed, err := zstd.NewReader(r, zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderConcurrency(1))
	if err != nil {
		return About{}, fmt.Errorf("read backup: %w", err)
	}
	defer compressed.Close()
	about, err := readArchive(tar.NewReader(compressed), dir)
	if err == nil {
		err = durable.SyncTree(dir)
	}
	if err != nil {
		return about, fmt.Errorf("read backup: %w", err)
	}
	return about, nil
}

// Verify reads a whole backup and compares every file with what the backup says of
// itself. It writes nothing and may block as long as r does.
//
// Errors: [ErrDamaged], [ErrNewer], and those of r, which are ErrDamaged too.
func Verify(r io.Reader) (About, error) {
	compressed, err := zstd.NewReader(r, zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderConcurrency(1))
	if err != nil {
		return About{}, fmt.Errorf("verify backup: %w", err)
	}
	defer compressed.Close()
	about, err := eachFile(tar.NewReader(compressed), sumFile)
	if err != nil {
		return about, fmt.Errorf("verify backup: %w", err)
	}
	return about, nil
}

func readArchive(archive *tar.Reader, dir string) (About, error) {
	if err := makeEmpty(dir); err != nil {
		return About{}, err
	}
	return eachFile(archive, func(archive io.Reader, header *tar.Header) (File, error) { return readFile(archive, dir, header) })
}

// eachFile calls read with each file of an archive, in order, and compares what it
// returns with what the archive says of itself.
func eachFile(archive *tar.Reader, read func(io.Reader, *tar.Header) (File, error)) (About, error) {
	var files []File
	for {
		header, err := archive.Next()
		if err != nil {
			return About{}, fmt.Errorf("%w: %w", ErrDamaged, err) // also when it ends: what it says of itself comes last
		}
		if header.Name == aboutName {
			return readAbout(archive, files)
		}
		if header.Typeflag != tar.TypeReg || !validName(header.Name) || len(files) >= maxFiles {
			return About{}, fmt.Errorf("%w: it has %q", ErrDamaged, header.Name)
		}
		f, err := read(archive, header)
		if err != nil {
			return About{}, err
		}
		files = append(files, f)
	}
}

// sumFile reads one file.
func sumFile(archive io.Reader, header *tar.Header) (File, error) {
	sum := sha256.New()
	n, err := io.Copy(sum, archive)
	if err != nil {
		return File{}, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return File{header.Name, n, hex.EncodeToString(sum.Sum(nil))}, nil
}

// makeEmpty creates a directory, or accepts an empty one.
func makeEmpty(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	entries, err := os.ReadDir(dir)
	if err == nil && len(entries) > 0 {
		err = fmt.Errorf("%s is not empty", dir)
	}
	return err
}

// readFile writes one file; sizes are bounded by the disk alone.
func readFile(archive io.Reader, dir string, header *tar.Header) (_ File, err error) {
	path := filepath.Join(dir, filepath.FromSlash(header.Name))
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return File{}, err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return File{}, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	source := &reader{Reader: archive}
	sum := sha256.New()
	n, err := io.Copy(io.MultiWriter(f, sum), source)
	if source.err != nil {
		return File{}, fmt.Errorf("%w: %w", ErrDamaged, source.err)
	}
	if err == nil {
		err = f.Sync()
	}
	if err != nil {
		return File{}, err
	}
	return File{header.Name, n, hex.EncodeToString(sum.Sum(nil))}, nil
}

// reader remembers its own error, to tell it from the writer's.
type reader struct {
	io.Reader
	err error
}

func (r *reader) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		r.err = err
	}
	return n, err
}

// readAbout compares what was read with what was written.
func readAbout(archive io.Reader, files []File) (About, error) {
	var raw bytes.Buffer
	if _, err := io.Copy(&raw, io.LimitReader(archive, maxAbout)); err != nil {
		return About{}, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	var version struct{ Format int }
	if err := json.Unmarshal(raw.Bytes(), &version); err != nil {
		return About{}, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if version.Format > Format {
		return About{}, ErrNewer
	}
	var about About
	if err := json.Unmarshal(raw.Bytes(), &about); err != nil {
		return About{}, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if len(files) != len(about.Files) {
		return About{}, fmt.Errorf("%w: it has %d files of %d", ErrDamaged, len(files), len(about.Files))
	}
	for i, f := range files {
		if f != about.Files[i] {
			return About{}, fmt.Errorf("%w: %s is not what was backed up", ErrDamaged, f.Name)
		}
	}
	return about, nil
}

// validName reports whether a file of a backup may be called so, on every system.
func validName(name string) bool {
	return name != aboutName && len(name) <= maxName && filepath.IsLocal(name) && !strings.ContainsAny(name, `\:`)
}
