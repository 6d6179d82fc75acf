// SPDX-License-Identifier: MPL-2.0

package fileserver

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io/fs"
	"maps"
	"os"
	"path"
	"strconv"
	"sync"
	"time"

	"github.com/mimird/mimird/actors/crashpoint"
	"github.com/mimird/mimird/actors/durable"
	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/files"
	"github.com/mimird/mimird/proto/identity"
)

const (
	hostedDir = "hosted"
	uploadDir = "uploads"
	// uploadTime is how long an upload may make no progress. Reference.
	uploadTime = time.Hour
	// maxUploads bounds the unfinished uploads of one identity, and those that one node
	// has begun: identities are free. maxAllUploads bounds them all.
	maxUploads    = 8
	maxAllUploads = 256
	// maxUploadFiles bounds the descriptors that uploads have open, each while a chunk
	// is written.
	maxUploadFiles = 64
	// idleUploadTime is after how long without progress an upload makes space for another
	// one, when there is none otherwise.
	idleUploadTime = 2 * time.Minute
)

// fileHost keeps what others have put on our file server: encrypted files, named
// by their hash, beside the database, and a row for each in it. A file is there
// when its row is; what has no row is removed at the start.
//
// An upload belongs to an identity and a hash, not to a connection: whoever comes
// back within an hour goes on where they stopped. The public server forgets an
// upload with its connection, and clients that know only that begin again.
//
// Its methods touch the disk and wait for the store, so they are for goroutines.
type fileHost struct {
	opts   Options
	writer kernel.Ref
	root   *os.Root
	now    func() time.Time
	// diskLow reports that the disk is needed for messages.
	diskLow func() bool

	// settling is held for reading while an upload becomes a file, and for writing while a
	// file is removed: the two must not meet.
	settling sync.RWMutex

	mu      sync.Mutex
	files   map[files.Hash]store.HostedFile
	space   hostSpace
	uploads map[uploadKey]*hostUpload
	serial  uint64
	lost    []files.Hash // rows without a file, to be removed

	// open has a place for each descriptor that an upload has open.
	open chan struct{}
}

type uploadKey struct {
	owner identity.PublicKey
	hash  files.Hash
}

// hostUpload is an unfinished upload. Its mutex is held while a chunk of it is
// worked on; it is taken before the host's, never after it.
type hostUpload struct {
	mu       sync.Mutex
	name     string
	node     identity.NodeKey // which has begun it
	guid     int64
	total    int64
	received int64
	hash     hash.Hash
	last     time.Time
	over     bool
}

// openFileHost opens the directory and compares it with the rows.
func openFileHost(dir string, opts Options, s *store.Store, writer kernel.Ref, now func() time.Time) (*fileHost, error) {
	if err := durable.MkdirAll(dir); err != nil {
		return nil, fmt.Errorf("make directory of the file server: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open directory of the file server: %w", err)
	}
	h := &fileHost{
		opts: opts, writer: writer, root: root, now: now, files: make(map[files.Hash]store.HostedFile),
		diskLow: s.DiskLow, uploads: make(map[uploadKey]*hostUpload), open: make(chan struct{}, maxUploadFiles),
		space: hostSpace{quota: opts.Quota, perIdentity: opts.PerIdentity, used: make(map[identity.PublicKey]int64)},
	}
	if err := h.look(s); err != nil {
		return nil, errors.Join(fmt.Errorf("look at the files of the file server: %w", err), root.Close())
	}
	return h, nil
}

func (h *fileHost) look(s *store.Store) error {
	if err := h.root.RemoveAll(uploadDir); err != nil {
		return err
	}
	for _, dir := range []string{uploadDir, hostedDir} {
		if err := h.root.MkdirAll(dir, 0o700); err != nil {
			return err
		}
	}
	if err := durable.SyncDirIn(h.root, "."); err != nil {
		return err
	}
	rows, err := s.HostedFiles()
	if err != nil {
		return err
	}
	for _, file := range rows {
		// Without its file a row must not count: whoever uploads it again would be told
		// that it is there. A backup may leave the files out.
		if _, err := h.root.Stat(hostedName(file.Hash)); err != nil {
			h.lost = append(h.lost, file.Hash)
			continue
		}
		h.add(file)
	}
	return fs.WalkDir(h.root.FS(), hostedDir, func(name string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		id, err := files.ParseHash(path.Base(name))
		if _, known := h.files[id]; err == nil && !known && name == hostedName(id) {
			return h.root.Remove(name)
		}
		return nil
	})
}

func hostedName(id files.Hash) string { return path.Join(hostedDir, id.String()[:2], id.String()) }

func (h *fileHost) add(file store.HostedFile) {
	h.files[file.Hash] = file
	h.space.take(file.Owner, file.Size)
}

// close ends all uploads. Their files are removed at the next start.
func (h *fileHost) close() {
	h.mu.Lock()
	uploads := make([]*hostUpload, 0, len(h.uploads))
	for _, u := range h.uploads {
		uploads = append(uploads, u)
	}
	clear(h.uploads)
	h.mu.Unlock()
	for _, u := range uploads {
		u.mu.Lock()
		u.over = true
		u.mu.Unlock()
	}
	_ = h.root.Close() // nothing of it is buffered
}

// info returns what is known of a file.
func (h *fileHost) info(id files.Hash) (store.HostedFile, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	file, ok := h.files[id]
	return file, ok
}

// read opens a file for reading.
func (h *fileHost) read(id files.Hash) (*os.File, error) { return h.root.Open(hostedName(id)) }

// refuse is an answer with an error to a client.
func refuse(text string) error { return &files.RequestError{Text: text} }

// upload takes one chunk that came from a node. Refusals are of type
// *files.RequestError; any other error is ours.
func (h *fileHost) upload(ctx context.Context, node identity.NodeKey, owner identity.PublicKey, q files.Upload) error {
	if _, there := h.info(q.Hash); there {
		return nil // by the protocol it is not looked at
	}
	if h.diskLow() {
		return refuse(files.TextQuota) // what has come of it is kept for a while
	}
	u, err := h.uploadOf(node, owner, q)
	if err != nil {
		return err
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	switch {
	case u.over:
		return refuse(files.TextNoUpload)
	case q.Offset == 0 && u.received > 0:
		if q.Total != uint64(u.total) {
			return refuse("missing or invalid total size")
		}
		u.received, u.guid = 0, q.GUID
		u.hash.Reset()
	case q.Offset != uint64(u.received):
		return refuse(files.TextExpectedOffset(uint64(u.received), q.Offset))
	}
	if int64(len(q.Data)) > u.total-u.received {
		return refuse(files.TextChunkTooLong)
	}
	whole := u.received+int64(len(q.Data)) == u.total
	if err := h.writeChunk(ctx, u, q.Data, whole); err != nil {
		if ctx.Err() != nil {
			return err
		}
		h.drop(uploadKey{owner, q.Hash}, u)
		return refuse("write error: the disk does not take it")
	}
	u.hash.Write(q.Data)
	u.received += int64(len(q.Data))
	u.last = h.now()
	crashpoint.At(crashpoint.DuringHosting)
	if !whole {
		return nil
	}
	return h.publish(ctx, owner, q.Hash, u)
}

// writeChunk writes the next bytes of an upload; the last ones are synced, with all
// before them. The file is open meanwhile and no longer.
func (h *fileHost) writeChunk(ctx context.Context, u *hostUpload, data []byte, last bool) error {
	select {
	case h.open <- struct{}{}:
		defer func() { <-h.open }()
	case <-ctx.Done():
		return ctx.Err()
	}
	flags := os.O_WRONLY | os.O_CREATE
	if u.received == 0 {
		flags |= os.O_TRUNC
	}
	f, err := h.root.OpenFile(u.name, flags, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(data, u.received)
	if err == nil && last {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// uploadOf finds the upload that a chunk belongs to; the first one begins it.
func (h *fileHost) uploadOf(node identity.NodeKey, owner identity.PublicKey, q files.Upload) (*hostUpload, error) {
	u, err := h.beginUpload(node, owner, q)
	if err != nil && err.Error() == files.TextQuota && h.yield() {
		u, err = h.beginUpload(node, owner, q)
	}
	return u, err
}

func (h *fileHost) beginUpload(node identity.NodeKey, owner identity.PublicKey, q files.Upload) (*hostUpload, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	key := uploadKey{owner, q.Hash}
	if u, ok := h.uploads[key]; ok {
		return u, nil
	}
	if q.Offset != 0 {
		return nil, refuse(files.TextNoUpload)
	}
	if q.Total == 0 {
		return nil, refuse("missing or invalid total size")
	}
	if !h.space.fits(owner, q.Total) || !h.mayBegin(node, owner) {
		return nil, refuse(files.TextQuota)
	}
	h.serial++
	name := path.Join(uploadDir, strconv.FormatUint(h.serial, 10))
	u := &hostUpload{name: name, node: node, guid: q.GUID, total: int64(q.Total), hash: sha256.New(), last: h.now()} //nolint:gosec // it fits
	h.space.take(owner, u.total)
	h.uploads[key] = u
	return u, nil
}

// mayBegin reports whether there is a place for another upload. mu is held.
func (h *fileHost) mayBegin(node identity.NodeKey, owner identity.PublicKey) bool {
	if len(h.uploads) >= maxAllUploads {
		return false
	}
	ofOwner, ofNode := 0, 0
	for key, u := range h.uploads {
		if key.owner == owner {
			ofOwner++
		}
		if u.node == node {
			ofNode++
		}
	}
	return ofOwner < maxUploads && ofNode < maxUploads
}

// yield drops the uploads that have made no progress for idleUploadTime, and reports
// whether there were any.
func (h *fileHost) yield() bool { return h.dropIdle(idleUploadTime) > 0 }

// dropIdle drops the uploads that have made no progress for that long.
func (h *fileHost) dropIdle(most time.Duration) (dropped int) {
	h.mu.Lock()
	uploads := maps.Clone(h.uploads)
	h.mu.Unlock()
	for key, u := range uploads {
		if !u.mu.TryLock() {
			continue // a chunk of it is being written
		}
		if !u.over && h.now().Sub(u.last) > most {
			h.drop(key, u)
			dropped++
		}
		u.mu.Unlock()
	}
	return dropped
}

// drop forgets an upload. Its mutex is held.
func (h *fileHost) drop(key uploadKey, u *hostUpload) {
	u.over = true
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.uploads, key)
	h.space.release(key.owner, u.total)
	_ = h.root.Remove(u.name) // or at the next start
}

// publish makes an upload a file. When it returns without an error, the file is
// safe: only then the last chunk is answered.
func (h *fileHost) publish(ctx context.Context, owner identity.PublicKey, id files.Hash, u *hostUpload) error {
	key := uploadKey{owner, id}
	if got := files.Hash(u.hash.Sum(nil)); got != id {
		h.drop(key, u)
		return refuse(files.TextHashMismatch(id, got))
	}
	h.settling.RLock()
	defer h.settling.RUnlock()
	file := store.HostedFile{Hash: id, Owner: owner, GUID: u.guid, Size: u.total, Added: store.MillisOf(h.now())}
	err := h.root.MkdirAll(path.Dir(hostedName(id)), 0o700)
	if err == nil {
		err = h.root.Rename(u.name, hostedName(id))
	}
	if err == nil {
		err = errors.Join(durable.SyncDirIn(h.root, path.Dir(hostedName(id))), durable.SyncDirIn(h.root, hostedDir))
	}
	if err != nil {
		h.drop(key, u)
		return refuse("rename error: the disk does not take it")
	}
	crashpoint.At(crashpoint.BeforeHosted)
	if _, err := store.Do[bool](ctx, h.writer, store.PutHosted{File: file}); err != nil {
		h.drop(key, u)
		if _, there := h.info(id); !there { // another identity may have uploaded the same
			_ = h.root.Remove(hostedName(id)) // or at the next start
		}
		return refuse("meta write error")
	}
	crashpoint.At(crashpoint.AfterHosted)
	u.over = true
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.uploads, key)
	h.space.release(owner, u.total)
	if _, there := h.files[id]; !there { // two identities may have uploaded the same
		h.add(file)
	}
	return nil
}

// expire removes what is too old, and uploads that nobody goes on with.
func (h *fileHost) expire(ctx context.Context) error {
	now := h.now()
	h.mu.Lock()
	var old []store.HostedFile
	for _, file := range h.files {
		if now.Sub(file.Added.Time()) > h.opts.Keep {
			old = append(old, file)
		}
	}
	h.mu.Unlock()
	h.dropIdle(uploadTime)
	for _, file := range old {
		if err := h.remove(ctx, file); err != nil {
			return err
		}
	}
	return nil
}

func (h *fileHost) remove(ctx context.Context, file store.HostedFile) error {
	h.settling.Lock()
	defer h.settling.Unlock()
	// First nobody is told any more that it is there.
	h.mu.Lock()
	delete(h.files, file.Hash)
	h.space.release(file.Owner, file.Size)
	h.mu.Unlock()
	if _, err := store.Do[bool](ctx, h.writer, store.RemoveHosted{Hash: file.Hash}); err != nil {
		return err
	}
	if err := h.root.Remove(hostedName(file.Hash)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// forgetLost removes the rows that have no file. Nothing is served before that.
func (h *fileHost) forgetLost(ctx context.Context) error {
	for _, id := range h.lost {
		if _, err := store.Do[bool](ctx, h.writer, store.RemoveHosted{Hash: id}); err != nil {
			return err
		}
	}
	h.lost = nil
	return nil
}
