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
	// attemptTime is what one attempt gets, and slowestTransfer how many bytes a second
	// it has to move beyond that.
	attemptTime     = 10 * time.Minute
	slowestTransfer = 4 << 10
	// noSessionRetry is the longest pause of a file that only a contact without a
	// session has.
	noSessionRetry = 2 * time.Minute
	// silentTime is how long a file server that does not answer is left alone.
	silentTime = time.Minute
	// fetchTime is how long a file of a contact is tried: a server has forgotten it
	// then.
	fetchTime = files.KeepTime + 24*time.Hour
)

// attempt is one attempt to move one file. The work is done in a goroutine, as
// every step of it waits for a disk or a network; the actor gives it an owner, a
// place in the tree and an end. It is never restarted: what failed is due again
// later.
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
			return nil // stopped; another attempt is due as it was
		}
		if err != nil && !errors.Is(err, errSettled) {
			log.Info("A file was not transferred", "contact", t.m.Conversation.Short(), "message", t.m.Message, "err", err, "for_good", isPermanent(err))
		}
		return job.settle(ctx, err)
	})
	return nil
}

func (t *attempt) Receive(c *kernel.Context, msg any) {
	if done, ok := msg.(kernel.TaskDone); ok {
		c.StopSelf(done.Err)
	}
}

// job is what the goroutine of a transfer works on.
type job struct {
	service  *Service
	from     store.MediaState // when it began
	m        store.Media      // as it is to be written
	payload  []byte           // of the message, when that is to be replaced
	progress *atomic.Int64
	msg      store.Message
	file     peer.Attachment
	placed   func() // ends what placements has of it; nil before
}

// runWithin bounds an attempt: a server that sends a byte a minute would have a
// place for ever. What has come by then is kept.
func (j *job) runWithin(ctx context.Context) error {
	size := j.m.Size
	if size <= 0 {
		size = j.service.deps.Options.MaxFile
	}
	ctx, cancel := context.WithTimeout(ctx, attemptTime+time.Duration(size/slowestTransfer)*time.Second)
	defer cancel()
	return j.run(ctx)
}

// run does the work. When it returns nil the file is where it belongs, and m says
// so.
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

// settle writes to the store what has become of the file.
func (j *job) settle(ctx context.Context, failed error) error {
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
		return nil // the message is gone, with everything that belongs to it
	}
	return err
}

// giveUp fails the message of a file that will never be uploaded. It comes before
// the file is failed: the other way round a crash would hold the message for ever.
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

// transferBackoff is how long to wait after so many failed attempts in a row.
func transferBackoff(attempts uint32, reason error) time.Duration {
	d := kernel.Backoff{Min: firstTransferRetry, Max: lastTransferRetry}.Step(int(attempts) - 1)
	switch {
	case refusal(reason) == files.TextQuota, errors.Is(reason, media.ErrFull), errors.Is(reason, media.ErrDiskFull):
		d = lastTransferRetry // a quota does not become free in seconds
	case errors.Is(reason, errNoSession):
		d = min(d, noSessionRetry)
	}
	return kernel.Jitter(d)
}

// place puts what was written into the media store. Until the row says that it is
// there nobody may take it for a file that no row names.
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

// progressTable counts the bytes of files under way. An entry lives as long as its
// transfer.
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
