// SPDX-License-Identifier: MPL-2.0

package fileserver

import (
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/mimird/mimird/actors/durable"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/files"
)

const (
	// maxSnapshotFiles bounds the files in a snapshot, the newest first.
	maxSnapshotFiles = 40_000
	// maxProblems bounds the problems that Check returns.
	maxProblems = 100
)

func hostedPath(dir string, id files.Hash) string {
	return filepath.Join(dir, filepath.FromSlash(hostedName(id)))
}

// Link links or copies the files of a directory into that of a snapshot, and returns what
// it left out, one phrase each. The store of the snapshot is older: files that were uploaded
// since then have no row there, and rows of files that were removed since then no file. The
// file server removes both when it starts. It blocks on the disk.
func Link(s *store.Store, from, to string) (left []string, err error) {
	hosted, err := s.HostedFiles()
	if err != nil {
		return nil, err
	}
	slices.SortFunc(hosted, func(a, b store.HostedFile) int { return cmp.Compare(b.Added, a.Added) })
	if more := len(hosted) - maxSnapshotFiles; more > 0 {
		left = append(left, fmt.Sprintf("%d of the files that others have put on this file server, the oldest", more))
		hosted = hosted[:maxSnapshotFiles]
	}
	for _, file := range hosted {
		err := durable.LinkOrCopy(hostedPath(from, file.Hash), hostedPath(to, file.Hash), nil)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("copy hosted file %s: %w", file.Hash, err)
		}
	}
	return left, nil
}

// Omitted returns what a snapshot without the files lacks, one phrase each.
func Omitted(s *store.Store) ([]string, error) {
	hosted, err := s.HostedFiles()
	if err != nil || len(hosted) == 0 {
		return nil, err
	}
	bytes := int64(0)
	for _, file := range hosted {
		bytes += file.Size
	}
	return []string{fmt.Sprintf("the %d files, %d bytes, that others have put on this file server", len(hosted), bytes)}, nil
}

// Check reads all files of a directory and returns which are missing or corrupt, one phrase
// each. It blocks on the disk.
func Check(s *store.Store, dir string) (problems []string, err error) {
	hosted, err := s.HostedFiles()
	if err != nil {
		return nil, err
	}
	var missing []files.Hash
	for _, file := range hosted {
		what, err := checkFile(hostedPath(dir, file.Hash), file)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			missing = append(missing, file.Hash)
		case err != nil:
			what = err.Error()
			fallthrough
		case what != "":
			problems = append(problems, fmt.Sprintf("hosted file %s: %s", file.Hash, what))
		}
		if len(problems) >= maxProblems {
			return problems, nil
		}
	}
	if len(missing) == 0 {
		return problems, nil
	}
	// The row of a file that expired meanwhile is gone, too.
	if hosted, err = s.HostedFiles(); err != nil {
		return nil, err
	}
	for _, id := range missing[:min(len(missing), maxProblems)] {
		if slices.ContainsFunc(hosted, func(f store.HostedFile) bool { return f.Hash == id }) {
			problems = append(problems, fmt.Sprintf("hosted file %s: it is missing, and is forgotten when the file server starts", id))
		}
	}
	return problems, nil
}

// checkFile returns what is wrong with a file, "" when nothing is.
func checkFile(path string, want store.HostedFile) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }() // only read
	sum := sha256.New()
	size, err := io.Copy(sum, f)
	switch {
	case err != nil:
		return "", err
	case size != want.Size:
		return fmt.Sprintf("it has %d bytes of %d", size, want.Size), nil
	case files.Hash(sum.Sum(nil)) != want.Hash:
		return "it is not what was uploaded", nil
	}
	return "", nil
}
