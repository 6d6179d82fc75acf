// SPDX-License-Identifier: MPL-2.0

package appservice

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptrace"
	"os"
	"sync"
	"time"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/bridgev2"
	"maunium.net/go/mautrix/bridgev2/status"
	"maunium.net/go/mautrix/crypto/attachment"
	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/bridge/fault"
	"github.com/mimird/mimird/bridge/homeserver"
	"github.com/mimird/mimird/bridge/msgconv"
)

// The file of a message is downloaded before the message is handled, so that the library
// does not block the conversation meanwhile: the first attempt at the event returns a
// [NeededFile]; the file is downloaded in the background; the second attempt finds it. The
// events behind it in the same room wait for a while. A file that the homeserver does not
// serve by then is retried for a day, and delays no event.

const (
	// downloadsAtOnce bounds the downloads that rooms wait for, and parkedAtOnce the
	// others.
	downloadsAtOnce = 32
	parkedAtOnce    = 4
	// firstByteTime is how long the homeserver may take until it begins to answer while
	// a room waits.
	firstByteTime = 30 * time.Second
	// downloadTries is how often a room waits for a download.
	downloadTries = 3
	// giveUpFile is how long a file is tried in all.
	giveUpFile = 24 * time.Hour
	// fileRetryMin and fileRetryMax are the factors between the back-off of events and that
	// of files that no room waits for: a minute to an hour.
	fileRetryMin, fileRetryMax = 60, 12

	// parkedFiles is the journal of events whose file the homeserver does not serve.
	parkedFiles = "matrix-files"
)

var (
	// ErrLargeFile tells the sender that a file is larger than MaxFile.
	ErrLargeFile = msgconv.Refusal("the file is larger than this node sends")

	errNoDownload = msgconv.Refusal("the homeserver does not give out the file")
)

// NeededFile is the error with which the connector asks for the file of an event.
type NeededFile struct {
	Event id.EventID
	Room  id.RoomID
	URL   id.ContentURIString
	File  *event.EncryptedFileInfo
}

func (n *NeededFile) Error() string { return "the file of the message has to be downloaded" }

// Attachments are the downloaded files of the events that are being handled. The zero value is ready for use, by many goroutines.
type Attachments struct {
	mu    sync.Mutex
	files map[id.EventID]attachmentFile
}

type attachmentFile struct {
	file *os.File
	err  error
}

// put stores the file of an event, or why there is none, until forget.
func (a *Attachments) put(evt id.EventID, file *os.File, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.files == nil {
		a.files = make(map[id.EventID]attachmentFile)
	}
	a.files[evt] = attachmentFile{file, err}
}

func (a *Attachments) forget(evt id.EventID) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.files, evt)
}

// Get returns the file of an event, or why there is none. Both are nil before the
// download.
func (a *Attachments) Get(evt id.EventID) (*os.File, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	found := a.files[evt]
	return found.file, found.err
}

// fetch downloads the file that an event needs and handles the event with it.
func (d *Dispatcher) fetch(t *task, failures int, needs *NeededFile) laneResult {
	parked := t.entry.queue == parkedFiles
	places, patience := d.downloads, firstByteTime
	if parked {
		places, patience = d.parkedOnce, homeserver.SlowTimeout
	}
	select {
	case places <- struct{}{}:
		defer func() { <-places }()
	case <-d.stop.Done():
		return laneResult{cut: true}
	}
	result := laneResult{cut: true}
	err := fault.Guard(d.deps.Log, "download a file", func() error {
		return d.download(needs, patience, func(file *os.File) {
			result = d.handleWith(t, failures, needs, file, nil)
		})
	})
	switch {
	case err == nil:
		return result
	case d.stop.Err() != nil:
		return laneResult{cut: true}
	}
	refusal := refusedFile(err)
	if refusal == nil && parked && time.Since(t.entry.time) > giveUpFile {
		refusal = errNoDownload
	}
	if refusal != nil {
		d.deps.Log.Warn("refusing a message whose file cannot be downloaded", "event_id", needs.Event, "err", fault.OneLine(err))
		return d.handleWith(t, failures, needs, nil, refusal)
	}
	if !parked && failures+1 < downloadTries && !errors.Is(err, errSlowDownload) {
		return laneResult{err: err, after: d.deps.Retry.Delay(failures)}
	}
	d.deps.Log.Log(d.work, fault.RetryLevel(failures), "downloading a file failed, retrying", "event_id", needs.Event, "err", fault.OneLine(err))
	if parked {
		return laneResult{err: err, after: d.fileRetry(failures)}
	}
	return d.park(t, failures, needs, err)
}

// handleWith makes another attempt at an event, with its file or the reason why there is
// none.
func (d *Dispatcher) handleWith(t *task, failures int, needs *NeededFile, file *os.File, refusal error) laneResult {
	d.deps.Attachments.put(needs.Event, file, refusal)
	defer d.deps.Attachments.forget(needs.Event)
	err := d.attempt(t, failures)
	var again *NeededFile
	if errors.As(err, &again) { // of another event than before
		err = fmt.Errorf("handle a file: %w", homeserver.ErrDatabase)
	}
	return d.outcome(t, failures, err)
}

// park defers the event of a task and tells its sender, so that the events behind it need
// not wait any more.
func (d *Dispatcher) park(t *task, failures int, needs *NeededFile, why error) laneResult {
	raw, err := d.eventOf(t)
	if err == nil && raw != nil {
		err = fault.Guard(d.deps.Log, "defer a Matrix event", func() error {
			return d.parkEvent(raw, why)
		})
	}
	if errors.Is(err, store.ErrJournalFull) {
		return d.handleWith(t, failures, needs, nil, errNoDownload)
	}
	return d.outcome(t, failures, err)
}

func (d *Dispatcher) parkEvent(raw []byte, why error) error {
	evt := d.read(raw)
	if evt == nil {
		return nil
	}
	ctx := d.context(d.work)
	if err := d.deferEvent(ctx, parkedFiles, evt, raw); err != nil {
		return err
	}
	d.startParked(d.fileRetry(0))
	text := "the homeserver does not serve the file at the moment; the bridge retries for a day, and sends the message then. " +
		"Delete the message if it shall not be sent any more"
	d.deps.Status.Send(ctx, &bridgev2.MessageStatus{
		Step: status.MsgStepRemote, Status: event.MessageStatusPending, ErrorReason: event.MessageStatusNetworkError,
		InternalError: why, Message: text,
	}, bridgev2.StatusEventInfoFromEvent(evt))
	d.deps.Status.Note(ctx, evt.RoomID, "⚠️ Your message waits: "+text+".")
	return nil
}

// resumeParked begins with the events that an earlier run has deferred.
func (d *Dispatcher) resumeParked() error {
	for _, queue := range []string{undecryptable, parkedFiles} {
		if err := d.deferred.load(d.deps.Node, queue); err != nil {
			return err
		}
	}
	d.startParked(0)
	return nil
}

// startParked gives each event that waits for its file a lane of its own.
func (d *Dispatcher) startParked(after time.Duration) {
	for _, at := range d.deferred.takeIdle(parkedFiles) {
		d.lanes.addAfter("file/"+at.entry.id, &task{entry: at.entry}, after)
	}
}

// fileRetry is the pause before another attempt at a file that no room waits for.
func (d *Dispatcher) fileRetry(failures int) time.Duration {
	return kernel.Backoff{Min: fileRetryMin * d.deps.Retry.Min, Max: fileRetryMax * d.deps.Retry.Max}.Delay(failures)
}

// download fetches a file and calls handle with it.
func (d *Dispatcher) download(needs *NeededFile, patience time.Duration, handle func(*os.File)) error {
	ctx, cancel := context.WithCancelCause(d.context(d.work))
	defer cancel(nil)
	defer context.AfterFunc(d.stop, func() { cancel(d.stop.Err()) })()
	timer := time.AfterFunc(patience, func() { cancel(errSlowDownload) })
	defer timer.Stop()
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotFirstResponseByte: func() { timer.Stop() }})
	ctx = homeserver.WithDownloadLimit(ctx, d.deps.Node.MaxFile())
	err := d.deps.Bridge.Bot.DownloadMediaToFile(mautrix.WithMaxRetries(ctx, 0), needs.URL, needs.File, false, func(file *os.File) error {
		timer.Stop()
		handle(file)
		return nil
	})
	if cause := context.Cause(ctx); err != nil && cause != nil {
		return cause
	}
	return err
}

var errSlowDownload = errors.New("the homeserver does not begin to answer")

// refusedFile returns what the sender is told of a file that will never come, nil for one
// that may come.
func refusedFile(err error) error {
	switch {
	case errors.Is(err, homeserver.ErrOverLimit):
		return ErrLargeFile
	case homeserver.IsFinal(err),
		errors.Is(err, id.ErrInvalidContentURI), errors.Is(err, id.ErrInputNotJSONString),
		errors.Is(err, attachment.ErrHashMismatch), errors.Is(err, attachment.ErrUnsupportedVersion),
		errors.Is(err, attachment.ErrUnsupportedAlgorithm), errors.Is(err, attachment.ErrInvalidKey),
		errors.Is(err, attachment.ErrInvalidInitVector), errors.Is(err, attachment.ErrInvalidHash):
		return errNoDownload
	default:
		return nil
	}
}
