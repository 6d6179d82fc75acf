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
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/files"
	"github.com/mimird/mimird/proto/identity"
)

const (
	hostedDir = "hosted"
	uploadDir = "uploads"
	// uploadTime is how long an upload may make no progress, as in the reference.
	uploadTime = time.Hour
	// maxUploads bounds the unfinished uploads of one identity, and those that one node
	// has begun, as identities cost nothing. maxAllUploads bounds all of them.
	maxUploads    = 8
	maxAllUploads = 256
	// maxUploadFiles bounds the descriptors of uploads. One is open while a chunk is
	// written.
	maxUploadFiles = 64
	// idleUploadTime is after how long without progress an upload yields its space to
	// another one.
	idleUploadTime = 2 * time.Minute
)

// host has the files: encrypted, named by their hash, beside the database, and with a row
// for each in it. A file without a row is removed at the start.
//
// An upload belongs to an identity and a hash, not to a connection: a client resumes it
// within an hour. The public server forgets an upload with its connection, and clients
// that know only that begin again.
//
// Its methods block on the disk and on the store, so they are for goroutines.
type host struct {
	deps Deps
	opts Options
	root *os.Root
	// diskLow reports that the space left on the disk is reserved for messages.
	diskLow func() bool

	// placing is locked for reading while an upload becomes a file, and for writing while a
	// file is removed, which could be the file of that upload.
	placing sync.RWMutex

	mu      sync.Mutex
	files   map[files.Hash]store.HostedFile
	space   space
	uploads map[uploadKey]*upload
	serial  uint64
	lost    []files.Hash // rows without a file, to be removed

	// open has an element for each descriptor that an upload has open.
	open chan struct{}
}

type uploadKey struct {
	owner identity.PublicKey
	hash  files.Hash
}

// upload is an unfinished upload. Its mutex is locked while a chunk of it is written, and
// before the host's, never after it.
type upload struct {
	mu       sync.Mutex
	name     string
	node     identity.NodeKey // that began it
	guid     int64
	total    int64
	received int64
	hash     hash.Hash
	last     time.Time
	over     bool
}

// openHost opens the directory and compares it with the rows.
func openHost(deps Deps, opts Options) (*host, error) {
	if err := durable.MkdirAll(deps.Dir); err != nil {
		return nil, fmt.Errorf("create directory of the file server: %w", err)
	}
	root, err := os.OpenRoot(deps.Dir)
	if err != nil {
		return nil, fmt.Errorf("open directory of the file server: %w", err)
	}
	h := &host{
		deps: deps, opts: opts, root: root, files: make(map[files.Hash]store.HostedFile),
		diskLow: deps.Store.DiskLow, uploads: make(map[uploadKey]*upload), open: make(chan struct{}, maxUploadFiles),
		space: space{quota: opts.Quota, perIdentity: opts.PerIdentity, used: make(map[identity.PublicKey]int64)},
	}
	if err := h.reconcile(deps.Store); err != nil {
		return nil, errors.Join(fmt.Errorf("read the files of the file server: %w", err), root.Close())
	}
	return h, nil
}

// reconcile reads the rows, notes those without a file, and removes files without a row.
func (h *host) reconcile(s *store.Store) error {
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
		// A row without its file must not count: a client that uploads it again would be
		// told that it is there. A backup may leave the files out.
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

func (h *host) add(file store.HostedFile) {
	h.files[file.Hash] = file
	h.space.add(file.Owner, file.Size)
}

// close ends all uploads. Their files are removed at the next start.
func (h *host) close() {
	h.mu.Lock()
	uploads := make([]*upload, 0, len(h.uploads))
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

// info returns the row of a file; false without one.
func (h *host) info(id files.Hash) (store.HostedFile, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	file, ok := h.files[id]
	return file, ok
}

// read opens a file for reading.
func (h *host) read(id files.Hash) (*os.File, error) { return h.root.Open(hostedName(id)) }

// refuse returns the error that is the answer to a client.
func refuse(text string) error { return &files.RequestError{Text: text} }

// failed logs an error of ours and returns the refusal that tells the client.
func (h *host) failed(text string, err error) error {
	h.deps.Strangers.Warn("upload not stored", "component", "files", "err", err)
	return refuse(text)
}

// addChunk stores one chunk of an upload. Refusals are of type *files.RequestError; any
// other error is ours.
func (h *host) addChunk(ctx context.Context, node identity.NodeKey, owner identity.PublicKey, q files.Upload) error {
	if _, there := h.info(q.Hash); there {
		return nil // the protocol ignores it
	}
	if h.diskLow() {
		return refuse(files.TextQuota) // the upload can be resumed
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
		return h.failed("write error", err)
	}
	u.hash.Write(q.Data)
	u.received += int64(len(q.Data))
	u.last = h.deps.Now()
	crashpoint.At(crashpoint.DuringHosting)
	if !whole {
		return nil
	}
	return h.publish(ctx, owner, q.Hash, u)
}

// writeChunk writes the next bytes of an upload, and syncs the file after the last ones.
// The file is open only meanwhile.
func (h *host) writeChunk(ctx context.Context, u *upload, data []byte, last bool) error {
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

// uploadOf returns the upload that a chunk belongs to; the first chunk begins it.
func (h *host) uploadOf(node identity.NodeKey, owner identity.PublicKey, q files.Upload) (*upload, error) {
	u, err := h.beginUpload(node, owner, q)
	if err != nil && err.Error() == files.TextQuota && h.yieldIdle() {
		u, err = h.beginUpload(node, owner, q)
	}
	return u, err
}

func (h *host) beginUpload(node identity.NodeKey, owner identity.PublicKey, q files.Upload) (*upload, error) {
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
	u := &upload{name: name, node: node, guid: q.GUID, total: int64(q.Total), hash: sha256.New(), last: h.deps.Now()} //nolint:gosec // it fits
	h.space.add(owner, u.total)
	h.uploads[key] = u
	return u, nil
}

// mayBegin reports whether the limits allow another upload. The caller holds mu.
func (h *host) mayBegin(node identity.NodeKey, owner identity.PublicKey) bool {
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

// yieldIdle drops the uploads that have made no progress for idleUploadTime, and reports
// whether there were any.
func (h *host) yieldIdle() bool { return h.dropIdle(idleUploadTime) > 0 }

// dropIdle drops the uploads that have made no progress for that long.
func (h *host) dropIdle(most time.Duration) (dropped int) {
	h.mu.Lock()
	uploads := maps.Clone(h.uploads)
	h.mu.Unlock()
	for key, u := range uploads {
		if !u.mu.TryLock() {
			continue // a chunk of it is being written
		}
		if !u.over && h.deps.Now().Sub(u.last) > most {
			h.drop(key, u)
			dropped++
		}
		u.mu.Unlock()
	}
	return dropped
}

// drop forgets an upload. The caller holds its mutex.
func (h *host) drop(key uploadKey, u *upload) {
	u.over = true
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.uploads, key)
	h.space.remove(key.owner, u.total)
	_ = h.root.Remove(u.name) // or at the next start
}

// publish turns an upload into a file. When it returns without an error, the file is
// durable: only then the last chunk is answered. The caller holds the upload's mutex.
func (h *host) publish(ctx context.Context, owner identity.PublicKey, id files.Hash, u *upload) error {
	key := uploadKey{owner, id}
	if got := files.Hash(u.hash.Sum(nil)); got != id {
		h.drop(key, u)
		return refuse(files.TextHashMismatch(id, got))
	}
	h.placing.RLock()
	defer h.placing.RUnlock()
	file := store.HostedFile{Hash: id, Owner: owner, GUID: u.guid, Size: u.total, Added: store.MillisOf(h.deps.Now())}
	err := h.root.MkdirAll(path.Dir(hostedName(id)), 0o700)
	if err == nil {
		err = h.root.Rename(u.name, hostedName(id))
	}
	if err == nil {
		err = errors.Join(durable.SyncDirIn(h.root, path.Dir(hostedName(id))), durable.SyncDirIn(h.root, hostedDir))
	}
	if err != nil {
		h.drop(key, u)
		return h.failed("rename error", err)
	}
	crashpoint.At(crashpoint.BeforeHosted)
	if _, err := store.Do[bool](ctx, h.deps.Writer, store.PutHosted{File: file}); err != nil {
		h.drop(key, u)
		if _, there := h.info(id); !there { // another identity may have uploaded the same
			_ = h.root.Remove(hostedName(id)) // or at the next start
		}
		return h.failed("meta write error", err)
	}
	crashpoint.At(crashpoint.AfterHosted)
	u.over = true
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.uploads, key)
	h.space.remove(owner, u.total)
	if _, there := h.files[id]; !there { // two identities may have uploaded the same
		h.add(file)
	}
	return nil
}

// expire removes the files that are older than Options.Keep, and abandoned uploads.
func (h *host) expire(ctx context.Context) error {
	now := h.deps.Now()
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

func (h *host) remove(ctx context.Context, file store.HostedFile) error {
	h.placing.Lock()
	defer h.placing.Unlock()
	// First no client is told any more that it is there.
	h.mu.Lock()
	delete(h.files, file.Hash)
	h.space.remove(file.Owner, file.Size)
	h.mu.Unlock()
	if _, err := store.Do[bool](ctx, h.deps.Writer, store.RemoveHosted{Hash: file.Hash}); err != nil {
		return err
	}
	if err := h.root.Remove(hostedName(file.Hash)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// removeLost removes the rows that have no file. It is called before anything is served.
func (h *host) removeLost(ctx context.Context) error {
	for _, id := range h.lost {
		if _, err := store.Do[bool](ctx, h.deps.Writer, store.RemoveHosted{Hash: id}); err != nil {
			return err
		}
	}
	h.lost = nil
	return nil
}

const (
	// A file occupies whole blocks on the disk, and a name, a row and memory beside them:
	// small files count for what they cost.
	blockSize    = 4 << 10
	fileOverhead = 1 << 10
	// maxFiles bounds the files, unfinished uploads included.
	maxFiles = 100_000
)

// cost is what a file of that size counts.
func cost(size int64) int64 {
	return (size+blockSize-1)/blockSize*blockSize + fileOverhead
}

// space counts what the files use of the quotas. An upload counts whole from its beginning
// on. It is not safe for concurrent use.
type space struct {
	quota, perIdentity int64

	total int64
	count int
	used  map[identity.PublicKey]int64
}

// fits reports whether there is space for a file. The size can be any number.
func (s *space) fits(owner identity.PublicKey, size uint64) bool {
	if size > uint64(s.perIdentity) || s.count >= maxFiles {
		return false
	}
	c := cost(int64(size)) //nolint:gosec // it is not larger than perIdentity
	return s.used[owner]+c <= s.perIdentity && s.total+c <= s.quota
}

// add counts a file.
func (s *space) add(owner identity.PublicKey, size int64) {
	c := cost(size)
	s.total += c
	s.used[owner] += c
	s.count++
}

// remove no longer counts a file.
func (s *space) remove(owner identity.PublicKey, size int64) {
	c := cost(size)
	s.total -= c
	s.count--
	if s.used[owner] -= c; s.used[owner] <= 0 {
		delete(s.used, owner)
	}
}
