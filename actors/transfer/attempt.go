// SPDX-License-Identifier: MPL-2.0

package transfer

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mimird/mimird/actors/crashpoint"
	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/actors/media"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/files"
	"github.com/mimird/mimird/proto/peer"
)

const (
	// firstTransferRetry doubles with every failed attempt, up to lastTransferRetry.
	firstTransferRetry = 5 * time.Second
	lastTransferRetry  = 30 * time.Minute
	// attemptTime is the time limit of an attempt, to which one second is added for each
	// slowestTransfer bytes of the file.
	attemptTime     = 10 * time.Minute
	slowestTransfer = 4 << 10
	// noSessionRetry bounds the pause when only a contact without a session has the file.
	noSessionRetry = 2 * time.Minute
	// unreachableTime is how long a file server that did not answer is not dialled.
	unreachableTime = time.Minute
	// fetchTime is how long the download of a file is tried. After it no server has the
	// file.
	fetchTime = files.KeepTime + 24*time.Hour
)

// attempt is one attempt to move one file. A goroutine does the work, because every
// step waits for a disk or a network; the actor owns it. The actor is never restarted: a
// file that failed is due again later.
type attempt struct {
	service *Service
	name    string
	m       store.Media
}

func newAttemptSpec(s *Service, name string, m store.Media) kernel.Spec {
	return kernel.Spec{Name: name, Kind: "transfer", Once: true, New: func() kernel.Actor {
		return &attempt{service: s, name: name, m: m}
	}}
}

func (t *attempt) Started(c *kernel.Context) error {
	log := c.Log()
	c.Go("run", func(ctx context.Context) error {
		job := &job{service: t.service, from: t.m.State, m: t.m, progress: t.service.progress.begin(t.name)}
		defer t.service.progress.end(t.name)
		defer job.release()
		err := job.runWithin(ctx)
		if ctx.Err() != nil {
			return nil // stopped: the file is due as it was
		}
		switch {
		case err == nil, errors.Is(err, errSettled):
		case isPermanent(err):
			log.Info("transfer failed for good", "contact", t.m.Conversation.Short(), "message", t.m.Message, "err", err)
		default:
			log.Info("transfer failed, retrying", "contact", t.m.Conversation.Short(), "message", t.m.Message, "err", err)
		}
		return job.finish(ctx, err)
	})
	return nil
}

func (t *attempt) Receive(c *kernel.Context, msg any) {
	if done, ok := msg.(kernel.TaskDone); ok {
		c.StopSelf(done.Err)
	}
}

// job is the work of an attempt. Its goroutine owns it.
type job struct {
	service  *Service
	from     store.MediaState // of the row when the attempt began
	m        store.Media      // the row to be written
	payload  []byte           // replaces that of the message unless nil
	progress *atomic.Int64
	msg      store.Message
	file     peer.Attachment
	placed   func() // ends what placements has of it; nil before
}

// runWithin runs the job within its time limit: otherwise a server that sends a byte a
// minute would use a place for ever. The part that has arrived is kept.
func (j *job) runWithin(ctx context.Context) error {
	size := j.m.Size
	if size <= 0 {
		size = j.service.deps.Options.MaxFile
	}
	ctx, cancel := context.WithTimeout(ctx, attemptTime+time.Duration(size/slowestTransfer)*time.Second)
	defer cancel()
	return j.run(ctx)
}

// run moves the file. When it returns nil the file has arrived, and m says so.
func (j *job) run(ctx context.Context) error {
	var err error
	if j.msg, err = j.service.deps.Store.Message(j.m.Account, j.m.Conversation, j.m.Message); err != nil {
		return err
	}
	if j.file, err = peer.ParseAttachment(j.msg.Payload); err != nil {
		return permanent(errIncomplete)
	}
	if j.from == store.MediaUploading {
		return j.upload(ctx)
	}
	return j.download(ctx)
}

// finish writes the outcome to the store.
func (j *job) finish(ctx context.Context, failed error) error {
	m := j.m
	switch {
	case failed == nil:
	case errors.Is(failed, errSettled):
		m.State, m.Reason = store.MediaFailed, failed.Error()
		if j.msg.State == store.StateDelivered {
			m.State, m.Reason = store.MediaStored, ""
		}
	case isPermanent(failed):
		if err := j.giveUp(ctx, failed); err != nil {
			return err
		}
		m.State, m.Reason = store.MediaFailed, failed.Error()
	default:
		m.Attempts++
		m.Reason = failed.Error()
		m.Due = store.MillisOf(j.service.deps.Now().Add(transferBackoff(m.Attempts, failed)))
	}
	m.Reason = clipReason(m.Reason)
	_, err := store.Do[bool](ctx, j.service.deps.Writer(), store.ChangeMedia{From: j.from, Media: m, Payload: j.payload})
	if errors.Is(err, store.ErrNotFound) {
		return nil // the message was removed
	}
	return err
}

// giveUp fails the message of a file that will never be uploaded. It is called before
// the row of the file is failed: a crash in between would otherwise hold the message for
// ever.
func (j *job) giveUp(ctx context.Context, reason error) error {
	if j.from != store.MediaUploading {
		return nil
	}
	_, err := store.Do[bool](ctx, j.service.deps.Writer(), store.FailMessage{
		Account: j.m.Account, Conversation: j.m.Conversation, GUID: j.m.Message.GUID, Reason: clipReason(reason.Error()),
	})
	return err
}

func clipReason(s string) string {
	const most = 512
	return s[:min(len(s), most)]
}

// transferBackoff is the pause after so many failed attempts in a row.
func transferBackoff(attempts uint32, reason error) time.Duration {
	d := kernel.Backoff{Min: firstTransferRetry, Max: lastTransferRetry}.Step(int(attempts) - 1)
	switch {
	case refusal(reason) == files.TextQuota, errors.Is(reason, media.ErrFull), errors.Is(reason, media.ErrDiskFull):
		d = lastTransferRetry // a quota is not free again within seconds
	case errors.Is(reason, errNoSession):
		d = min(d, noSessionRetry)
	}
	return kernel.Jitter(d)
}

// place commits the file to the media store. The placement lasts until the row is
// written, so that the file is not removed as an orphan.
func (j *job) place(w *media.Writer) error {
	j.placed = j.service.placements.place(w.Sum())
	crashpoint.At(crashpoint.BeforePlace)
	info, err := w.Commit()
	if err != nil {
		return err
	}
	crashpoint.At(crashpoint.AfterPlace)
	j.m.State, j.m.Reason = store.MediaStored, ""
	j.m.Hash, j.m.Size, j.m.MIMEType = info.Hash, info.Size, info.MIMEType
	return nil
}

func (j *job) release() {
	if j.placed != nil {
		j.placed()
	}
}

// progressTable has the number of bytes that each attempt has moved. It is safe for
// concurrent use.
type progressTable struct {
	mu      sync.Mutex
	entries map[string]*atomic.Int64
}

func newProgressTable() *progressTable {
	return &progressTable{entries: make(map[string]*atomic.Int64)}
}

func (p *progressTable) begin(name string) *atomic.Int64 {
	done := new(atomic.Int64)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.entries[name] = done
	return done
}

func (p *progressTable) end(name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.entries, name)
}

func (p *progressTable) of(name string) int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	if done, ok := p.entries[name]; ok {
		return done.Load()
	}
	return 0
}
