// SPDX-License-Identifier: MPL-2.0

package chat

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/mimird/mimird/actors/control"
	"github.com/mimird/mimird/actors/control/client"
	"github.com/mimird/mimird/actors/kernel"
)

const (
	// askTime is how long a question may take, fileTime how long a file.
	askTime  = 10 * time.Second
	fileTime = 10 * time.Minute
	// maxMissed is how many events of the log are read one by one after the node was away;
	// when it is more, everything is asked for again.
	maxMissed = 500
)

// Options are what a client needs.
type Options struct {
	// API is a client of the node.
	API *client.Client
	// Account is the key of the account that is shown first; "" for the first one.
	Account string
	// Summary says in one line what a message is.
	Summary func(control.Message) string
	// FileName makes a name that stays in the current directory of a sender's name.
	FileName func(string) string
	// SaveFile writes a new file with what read writes, and refuses to overwrite one.
	SaveFile func(path string, read func(io.Writer) error) error
	// Now is the time, in the time zone that is shown.
	Now func() time.Time
	// Source returns a text that no message was sent with.
	Source func() string
	// Retry says how long to wait before a node that does not answer is asked again;
	// without it from one second to 15.
	Retry kernel.Backoff
	// Suspend stops the process until the shell continues it; nil where there is no such
	// thing.
	Suspend func()
}

func (o Options) withDefaults() Options {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Source == nil {
		o.Source = func() string { return "chat:" + rand.Text() }
	}
	if o.Retry == (kernel.Backoff{}) {
		o.Retry = kernel.Backoff{Min: time.Second, Max: 15 * time.Second}
	}
	return o
}

// Run shows the client on a screen, which it ends, until a person quits or ctx ends.
func Run(ctx context.Context, screen Screen, opts Options) error {
	opts = opts.withDefaults()
	ctx, cancel := context.WithCancel(ctx)
	r := &runner{opts: opts, model: New(opts), screen: screen, ctx: ctx, inputs: make(chan Input)}
	if err := screen.Start(); err != nil {
		cancel()
		return err
	}
	defer func() {
		cancel()
		screen.Stop()
		r.tasks.Wait()
	}()
	r.tasks.Go(func() { screen.Read(ctx, r.tell) })
	r.do(r.model.Start())
	for !r.done {
		r.screen.Draw(r.model.View())
		select {
		case <-ctx.Done():
			return nil
		case in := <-r.inputs:
			r.do(r.model.Update(in))
		}
	}
	return nil
}

// Screen is a terminal.
type Screen interface {
	// Start takes the terminal over, Stop gives it back as it was; Read returns then.
	Start() error
	Stop()
	// Read calls tell for what is typed, until Stop or the end of ctx.
	Read(ctx context.Context, tell func(Input))
	// Draw shows a canvas, Redraw all of it again, whatever the terminal shows.
	Draw(c *Canvas)
	Redraw()
	// Suspend gives the terminal back while do runs.
	Suspend(do func())
}

// runner carries out the effects of a model.
type runner struct {
	opts   Options
	model  *Model
	screen Screen

	ctx    context.Context //nolint:containedctx // of one Run
	inputs chan Input
	tasks  sync.WaitGroup
	done   bool
	stop   context.CancelFunc // ends what follows the log of an account
}

// tell hands an input to the model, unless the client has ended.
func (r *runner) tell(in Input) {
	select {
	case r.inputs <- in:
	case <-r.ctx.Done():
	}
}

// do begins effects; each has a goroutine that tells the model how it went.
func (r *runner) do(effects []Effect) {
	for _, e := range effects {
		switch e := e.(type) {
		case quit:
			r.done = true
		case redraw:
			r.screen.Redraw()
		case suspend:
			if r.opts.Suspend != nil {
				r.screen.Suspend(r.opts.Suspend)
			}
		case follow:
			if r.stop != nil {
				r.stop()
			}
			var ctx context.Context
			ctx, r.stop = context.WithCancel(r.ctx) //nolint:gosec // the next one or the end calls it
			r.tasks.Go(func() { r.follow(ctx, e.account) })
		case askAccounts:
			r.tasks.Go(r.accounts)
		case later:
			r.tasks.Go(func() {
				if r.wait(r.ctx, r.opts.Retry.Step(1)) {
					r.tell(again{})
				}
			})
		default:
			r.tasks.Go(func() { r.tell(r.ask(e)) })
		}
	}
}

// accounts asks for the accounts until the node answers.
func (r *runner) accounts() {
	for n := 0; ; n++ {
		ctx, cancel := context.WithTimeout(r.ctx, askTime)
		accounts, err := r.opts.API.Accounts(ctx)
		cancel()
		r.tell(gotAccounts{accounts, err})
		if err == nil || !r.wait(r.ctx, r.opts.Retry.Step(n)) {
			return
		}
	}
}

// wait reports whether ctx has not ended meanwhile.
func (r *runner) wait(ctx context.Context, d time.Duration) bool {
	again := time.NewTimer(d)
	defer again.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-again.C:
		return true
	}
}

// follow follows the event log of an account until ctx ends, and connects again when the
// node goes away.
func (r *runner) follow(ctx context.Context, account string) {
	after, failures := int64(-1), 0
	for {
		last, err := r.lastEvent(ctx, account)
		if err == nil {
			missed := after >= 0 && (int64(last) > after+maxMissed || int64(last) < after)
			if after < 0 || missed {
				after = int64(last)
			}
			failures = 0
			r.tell(connected{account, missed})
			err = r.opts.API.FollowLive(ctx, account, after, func(e control.Event) error {
				after = int64(e.Seq)
				r.tell(happened{account, e})
				return nil
			}, func(c control.Change) error {
				r.tell(changed{account, c})
				return nil
			})
		}
		if ctx.Err() != nil {
			return
		}
		delay := r.opts.Retry.Step(failures)
		failures++
		r.tell(lost{account, err, delay})
		if !r.wait(ctx, delay) {
			return
		}
	}
}

func (r *runner) lastEvent(ctx context.Context, account string) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	return r.opts.API.LastEvent(ctx, account)
}

// ask carries out an effect and returns the answer.
func (r *runner) ask(e Effect) Input {
	limit := askTime
	switch e := e.(type) {
	case sendNext:
		if e.what.file != "" {
			limit = fileTime
		}
	case act:
		if e.kind == actSave {
			limit = fileTime
		}
	}
	ctx, cancel := context.WithTimeout(r.ctx, limit)
	defer cancel()
	api := r.opts.API
	switch e := e.(type) {
	case askChats:
		chats, err := api.Conversations(ctx, e.account)
		return gotChats{e.account, chats, err}
	case askChat:
		c, err := api.Conversation(ctx, e.account, e.chat)
		return gotChat{account: e.account, chat: e.chat, conversation: c, err: err}
	case markRead:
		c, err := api.MarkRead(ctx, e.account, e.chat, e.order)
		return gotChat{account: e.account, chat: e.chat, conversation: c, marked: true, err: err}
	case askMessages:
		messages, err := api.ChatMessages(ctx, e.account, e.chat, e.which)
		return gotMessages{e.epoch, e.which, messages, err}
	case askMessage:
		message, err := api.ChatMessage(ctx, e.account, e.chat, e.id)
		return gotMessage{e.epoch, e.id, message, e.whole, err}
	case askMembers:
		members, err := api.GroupMembers(ctx, e.account, e.group)
		return gotMembers{e.epoch, members, err}
	case askFound:
		found, err := api.Search(ctx, e.account, e.query)
		return gotFound{e.query, found, err}
	case sendNext:
		return sent{e.what.source, r.send(ctx, e.what)}
	case act:
		return did{e.say, r.act(ctx, e)}
	}
	return did{err: fmt.Errorf("effect %T is unknown", e)}
}

// send sends a text or a file.
func (r *runner) send(ctx context.Context, o outgoing) error {
	if o.file == "" {
		_, err := r.opts.API.Send(ctx, o.account, o.chat, control.Text{Text: o.text, ReplyTo: o.reply, Source: o.source})
		return err
	}
	path := o.file
	if home, err := os.UserHomeDir(); err == nil && len(path) > 1 && path[0] == '~' && os.IsPathSeparator(path[1]) {
		path = filepath.Join(home, path[2:])
	}
	info, err := os.Stat(path)
	if err != nil {
		return localError{fmt.Errorf("send file: %w", err)}
	}
	if !info.Mode().IsRegular() {
		return localError{errors.New("that is not a file; a directory can be packed into one first")}
	}
	in, err := os.Open(path)
	if err != nil {
		return localError{fmt.Errorf("send file: %w", err)}
	}
	defer func() { _ = in.Close() }() // only read
	_, err = r.opts.API.SendFile(ctx, o.account, o.chat, client.NewFile{
		Body: in, Name: filepath.Base(path), Caption: o.text, ReplyTo: o.reply, Source: o.source,
	})
	return err
}

// act does what a person has asked for.
func (r *runner) act(ctx context.Context, a act) (err error) {
	api := r.opts.API
	switch a.kind {
	case actReact:
		_, err = api.React(ctx, a.account, a.chat, control.Reaction{Message: a.message, Emoji: a.text})
	case actCancel:
		_, err = api.CancelMessage(ctx, a.account, a.chat, a.message)
	case actDelete:
		_, err = api.DeleteGroupMessage(ctx, a.account, a.chat, a.message, 0)
	case actAccept:
		_, err = api.AcceptContact(ctx, a.account, a.chat)
	case actDecline:
		_, err = api.DeclineContact(ctx, a.account, a.chat)
	case actJoin:
		_, err = api.AcceptInvite(ctx, a.account, a.chat)
	case actRefuse:
		_, err = api.DeclineInvite(ctx, a.account, a.chat)
	case actFetch:
		_, err = api.FetchFile(ctx, a.account, a.chat, a.message)
	case actSave:
		err = r.opts.SaveFile(a.text, func(w io.Writer) error {
			return api.ReadFile(ctx, a.account, a.chat, a.message, w)
		})
	}
	return err
}
