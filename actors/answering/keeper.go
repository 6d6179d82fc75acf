// SPDX-License-Identifier: MPL-2.0

package answering

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/mimird/mimird/actors/crashpoint"
	"github.com/mimird/mimird/actors/durable"
	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/actors/session"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/aac"
	"github.com/mimird/mimird/proto/peer"
	"github.com/mimird/mimird/proto/wire"
)

const (
	// Apps show a file with this name and type as a voice message.
	voiceName = "voice_message.m4a"
	voiceType = "audio/mp4"
	// minUnits is the shortest recording that becomes a message: one second.
	minUnits = 44
)

// keeper makes messages of recordings. When one cannot be stored at the moment the actor
// fails, so that its supervisor retries with a back-off and raises an alarm.
type keeper struct{ m *Machine }

// NewActor returns the actor that makes messages of recordings, a part of the node.
func NewActor(m *Machine) kernel.Actor { return &keeper{m} }

func (k *keeper) Started(c *kernel.Context) error {
	c.Go("keep", k.m.keepAll)
	return nil
}

func (k *keeper) Receive(c *kernel.Context, msg any) {
	if done, ok := msg.(kernel.TaskDone); ok && done.Err != nil {
		c.Fail(done.Err)
	}
}

// keepAll deals with every complete recording, now and whenever there is another one, until
// ctx ends. It returns an error when one has to be tried again, after all others.
func (m *Machine) keepAll(ctx context.Context) error {
	for {
		names, err := m.complete()
		if err != nil {
			return err
		}
		var failed []error
		for _, name := range names {
			if err := m.keep(ctx, name); err != nil {
				failed = append(failed, fmt.Errorf("store the message of a call: %w", err))
			}
			if ctx.Err() != nil {
				return nil //nolint:nilerr // the next start goes on
			}
		}
		if len(failed) > 0 {
			return failed[0]
		}
		if _, err := m.complete(); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-m.wake:
		}
	}
}

// keep makes a message of a recording, and removes the recording. It can be repeated: the
// message has the guid of the recording, and the same content.
func (m *Machine) keep(ctx context.Context, name string) error {
	path := filepath.Join(m.deps.Dir, name)
	r, err := readRecording(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case errors.Is(err, errNotRecording):
		m.deps.Log.Error("recording of a call is damaged, kept aside", "path", path+damagedEnding, "err", err)
		return os.Rename(path, path+damagedEnding)
	case err != nil:
		return err
	}
	log := m.deps.Log.With("account", r.Account.Short(), "contact", r.Contact().Short())
	if r.cut > 0 {
		log.Warn("recording of a call ends within a packet", "bytes", r.cut)
	}
	if len(r.sizes) < minUnits {
		log.Info("caller left no message")
		return m.remove(path)
	}
	err = m.store(ctx, path, r)
	switch {
	case errors.Is(err, store.ErrNotFound):
		log.Warn("contact removed, message of their call dropped")
	case err != nil:
		return err
	default:
		log.Info("message of a call stored", "took", r.config.Duration(len(r.sizes)))
	}
	return m.remove(path)
}

func (m *Machine) remove(path string) error {
	if err := os.Remove(path); err != nil {
		return fmt.Errorf("remove recording: %w", err)
	}
	return durable.SyncDir(m.deps.Dir)
}

// store puts the audio into the media store, and then the message into the conversation.
func (m *Machine) store(ctx context.Context, path string, r recorded) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }() // only read
	if _, err := file.Seek(int64(recordingHeader), io.SeekStart); err != nil {
		return err
	}
	units, err := newUnitReader(file, len(r.sizes))
	if err != nil {
		return err
	}
	head := aac.AppendMPEG4Head(nil, r.config, r.sizes)
	size := int64(len(head)) + r.bytes
	crashpoint.At(crashpoint.BeforeCallMessage)
	err = m.deps.Files.Keep(r.Conversation, io.MultiReader(bytes.NewReader(head), units), size, func(file store.Media) error {
		file.MIMEType = voiceType
		op := session.AcceptOp(r.Conversation, r.message(size), store.MillisOf(m.deps.Now()), &file)
		_, err := store.Do[store.Accepted](ctx, m.deps.Writer(), op)
		return err
	})
	if err == nil {
		crashpoint.At(crashpoint.AfterCallMessage)
	}
	return err
}

// message is the voice message of a recording, as the contact would have sent it: the
// payload has the description of the file, in the form of a file inside the message.
func (r recorded) message(size int64) peer.Message {
	length := r.config.Duration(len(r.sizes))
	description := peer.Attachment{
		Name: fmt.Sprintf("call%016x.m4a", uint64(r.guid)), Size: size, OriginalName: voiceName, MIMEType: voiceType,
		Text: fmt.Sprintf("Left on the answering machine during a call: %d:%02d", int(length.Minutes()), int(length.Seconds())%60),
	}.AppendTo(nil)
	return peer.Message{
		GUID: r.guid, SendTime: int64(r.started), Type: peer.TypeFile,
		Payload: append(wire.AppendInt32(nil, int32(len(description))), description...),
	}
}
