// SPDX-License-Identifier: MPL-2.0

package bridge

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"
	"go.mau.fi/util/dbutil"
	"golang.org/x/sync/errgroup"
	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/bridgev2"
	"maunium.net/go/mautrix/bridgev2/commands"

	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/actors/transfer"
	"github.com/mimird/mimird/bridge/appservice"
	"github.com/mimird/mimird/bridge/botcommands"
	"github.com/mimird/mimird/bridge/config"
	"github.com/mimird/mimird/bridge/connector"
	"github.com/mimird/mimird/bridge/deliver"
	"github.com/mimird/mimird/bridge/fault"
	"github.com/mimird/mimird/bridge/homeserver"
	"github.com/mimird/mimird/bridge/library"
	"github.com/mimird/mimird/bridge/nodeapi"
	"github.com/mimird/mimird/bridge/publicmedia"
)

const (
	defaultRetryMin = time.Second
	defaultRetryMax = 5 * time.Minute

	// stopGrace is the time that a stopping bridge has to finish what it has begun. The
	// kernel gives the actor's goroutines 5 s in all.
	stopGrace = 2 * time.Second
	// libraryGrace is the time that bridgev2 has to stop.
	libraryGrace = time.Second
	// lastRequests is the time that a request to the homeserver has to end after the order
	// to stop, and listenerGrace that of the listener.
	lastRequests  = 4 * time.Second
	listenerGrace = 500 * time.Millisecond

	// probeEvery is the interval of the probes of homeserver and listener.
	probeEvery = 20 * time.Second
	// probeDown is the interval of the probes of an unreachable homeserver.
	probeDown = 2 * time.Second
)

// runner starts bridgev2 and the packages of the bridge, stops them, and restarts them
// after a failure. It runs in one goroutine of the actor.
type runner struct {
	opts    Options
	node    Node
	log     *slog.Logger
	library zerolog.Logger
	live    *liveStatus

	wake     chan struct{} // capacity 1: a transaction was stored
	listener *appservice.Listener
	files    *publicmedia.Files // nil when the configuration has no public media
	base     http.RoundTripper  // in place of the network, if set
}

// run runs the bridge until ctx ends, and returns nil. After a failure it backs off and
// restarts the bridge: neither an unreachable homeserver nor a wrong token must disturb
// the node. The listener keeps running meanwhile and stores what the homeserver pushes.
func (r *runner) run(ctx context.Context) error {
	r.wake = make(chan struct{}, 1)
	defer func() {
		if r.listener != nil {
			r.listener.Refuse()
			r.listener.Close(listenerGrace)
		}
	}()
	r.attempt(ctx, func() error {
		if r.listener == nil {
			if err := r.listen(ctx); err != nil {
				return err
			}
		}
		err := r.bridge(ctx)
		if errors.Is(err, errListenerEnded) {
			r.live.listener.Down(err)
			r.listener.Close(0)
			r.listener = nil
		}
		return err
	})
	return nil
}

// errListenerEnded means that the listener has to be opened again.
var errListenerEnded = errors.New("the listener for the homeserver has ended")

// attempt calls what, with a back-off, until it returns nil or ctx ends.
func (r *runner) attempt(ctx context.Context, what func() error) {
	for try := 0; ; try++ {
		begun := time.Now()
		err := what()
		if err == nil || ctx.Err() != nil {
			return
		}
		if time.Since(begun) > r.opts.Retry.Max {
			try = 0
		}
		delay := r.opts.Retry.Delay(try)
		r.live.set(StateFailed, err, nil)
		r.log.Error("bridge failed, restarting", "err", err, "retry_in", delay)
		timer := time.NewTimer(delay)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
		r.live.starting()
	}
}

// listen opens the listener for the homeserver.
func (r *runner) listen(ctx context.Context) error {
	config := r.opts.Config.AppService
	opts := appservice.ListenerOptions{
		Node: r.node, Log: r.log, Token: config.HSToken, Domain: r.opts.Config.Homeserver.Domain, Stored: r.stored,
	}
	if err := r.servePublicMedia(&opts); err != nil {
		return err
	}
	l := appservice.NewListener(opts)
	if err := l.Open(ctx, config.Hostname, config.Port); err != nil {
		r.live.listener.Down(err)
		return err
	}
	r.live.listener.Up()
	r.listener = l
	return nil
}

// servePublicMedia lets the listener serve files by link, where the configuration says so.
func (r *runner) servePublicMedia(listener *appservice.ListenerOptions) error {
	public := r.opts.Config.PublicMedia
	if !public.Enabled {
		return nil
	}
	files, err := publicmedia.New(publicmedia.Options{
		Address: r.opts.Config.AppService.PublicAddress, Prefix: public.PathPrefix, Key: public.SigningKey,
		Expiry: time.Duration(public.Expiry) * time.Second, Log: r.log,
		Open: func(ref publicmedia.Ref) (io.ReadSeekCloser, transfer.Info, error) {
			if groups, ok := r.node.(nodeapi.GroupNode); ok {
				return groups.OpenConversationMedia(ref.Account, ref.Conversation, ref.Message)
			}
			return r.node.OpenMedia(ref.Account, ref.Conversation.Contact(), ref.Message)
		},
	})
	if err != nil {
		return err
	}
	r.files, listener.Files, listener.FilesPath = files, files.Serve, publicmedia.Path
	return nil
}

// stored wakes the dispatcher; the listener calls it after storing a transaction.
func (r *runner) stored() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// A delivery to a slow room occupies the lane of that room, so there must be more lanes
// than deliveries.
var _ [appservice.MaxLanes - deliver.MaxDeliveries - 1]struct{}

// instance is the bridge between one start and its end.
type instance struct {
	*connector.Connector
	matrix      library.Matrix
	status      *library.StatusSender
	attachments *appservice.Attachments
	backlog     *homeserver.Backlog
	transport   *homeserver.Transport
	inbound     atomic.Pointer[appservice.Dispatcher] // nil before serve
}

// bridge runs bridgev2 from its start to its end.
func (r *runner) bridge(ctx context.Context) error {
	db, err := r.opts.Config.OpenDatabase(ctx, r.opts.Dir, r.library)
	if err != nil {
		return err
	}
	in, err := r.build(ctx, db)
	if err != nil {
		_ = db.Close()
		return err
	}
	defer in.end()
	if err := r.awaitHomeserver(ctx, in); err != nil {
		return err
	}
	// The transport retries requests, so the library must not.
	start, cancel := context.WithCancel(mautrix.WithMaxRetries(ctx, 0))
	defer cancel() // some of what it starts continues in the background
	if err := in.Bridge().StartConnectors(r.library.WithContext(start)); err != nil {
		return explain(err)
	}
	return r.serve(ctx, in)
}

// build builds an instance, without starting anything.
func (r *runner) build(ctx context.Context, db *dbutil.Database) (*instance, error) {
	lib := r.opts.Config.Library()
	matrix, status, err := library.New(lib, r.opts.Config.Homeserver.IgnoreUnsupported, r.log)
	if err != nil {
		return nil, err
	}
	in := &instance{matrix: matrix, status: status, attachments: new(appservice.Attachments), backlog: new(homeserver.Backlog)}
	in.Connector = connector.New(connector.Deps{
		Node: r.node, Search: r.opts.Search, PublicMedia: r.files, Version: cmp.Or(r.opts.Version, "unknown"), Config: r.opts.Config, Log: r.log, Library: r.library, Matrix: matrix, Status: status,
		Homeserver: &r.live.homeserver, Backlog: in.backlog, Attachments: in.attachments, Retry: r.opts.Retry,
		Direct: func(req *http.Request) (*http.Response, error) { return in.transport.Direct(req) },
	})
	br := bridgev2.NewBridge("", db, r.library, &lib.Bridge, matrix, in.Connector, func(br *bridgev2.Bridge) bridgev2.CommandProcessor {
		return commands.NewProcessor(br)
	})
	botcommands.Serialize(br)
	client := matrix.AppService().HTTPClient
	if r.base != nil {
		client.Transport = r.base
	}
	in.transport = homeserver.NewTransport(ctx, homeserver.Deps{
		Log: r.log, Base: client.Transport, Linger: lastRequests,
		Retries: r.opts.Config.Homeserver.RetryLimit, Pause: 2 * r.opts.Retry.Min,
		Homeserver: &r.live.homeserver, Sent: r.listener.Inbound.Sent, MustEncrypt: matrix.IsEncrypted,
		FindRoom: in.FindRoom, RoomCreated: in.RoomCreated, IsOurs: in.IsOurs, Registered: in.UserRegistered, Refused: in.RequestRefused,
	})
	client.Transport, client.Timeout = in.transport, 0
	return in, nil
}

// end stops an instance and releases what it holds, also of one that was never started.
func (in *instance) end() {
	logins := in.Bridge().GetAllCachedUserLogins()
	in.Bridge().StopWithTimeout(libraryGrace)
	for _, login := range logins {
		if login.BridgeState != nil {
			login.BridgeState.Destroy() // the library leaks its goroutine
		}
	}
	in.transport.Close()
}

// awaitHomeserver registers the bot, without which some homeservers refuse all requests.
// It retries until the homeserver answers, and returns an error when the homeserver
// refuses the bot.
func (r *runner) awaitHomeserver(ctx context.Context, in *instance) error {
	ctx = mautrix.WithMaxRetries(r.library.WithContext(ctx), 0)
	for try := 0; ; try++ {
		err := in.matrix.Bot().Register(ctx)
		if err == nil || errors.Is(err, mautrix.MUserInUse) {
			in.matrix.Bot().Registered = true
			r.live.homeserver.Up()
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if failure := (mautrix.HTTPError{}); errors.As(err, &failure) && failure.Response != nil &&
			failure.Response.StatusCode < http.StatusInternalServerError && failure.Response.StatusCode != http.StatusTooManyRequests {
			return explain(err)
		}
		r.live.homeserver.Down(fmt.Errorf("the homeserver cannot be reached: %w", err))
		if try == 0 {
			r.log.Warn("homeserver unreachable, retrying", "err", fault.OneLine(err))
		}
		timer := time.NewTimer(min(r.opts.Retry.Delay(try), probeEvery))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		}
	}
}

// explain adds to an error of the start what the operator can do about it.
func explain(err error) error {
	switch {
	case errors.Is(err, mautrix.MUnknownToken):
		return fmt.Errorf("the homeserver does not know the bridge: give it the registration file and restart it (%w)", err)
	case errors.Is(err, mautrix.MExclusive), errors.Is(err, mautrix.MForbidden):
		return fmt.Errorf("the registration file that the homeserver has does not fit homeserver.domain, appservice.bot "+
			"and appservice.username_template: create it again with mimird matrix -g, and restart the homeserver (%w)", err)
	default:
		return fmt.Errorf("start the bridge: %w", err)
	}
}

// serve runs a started instance until ctx ends or a part fails. It returns when all parts
// have ended, with nil if ctx has ended.
func (r *runner) serve(ctx context.Context, in *instance) error {
	// stop ends the parts; work ends later what they have begun.
	group, stop := errgroup.WithContext(ctx)
	work, cancelWork := context.WithCancel(context.WithoutCancel(ctx))
	defer cancelWork()
	defer context.AfterFunc(stop, func() { time.AfterFunc(stopGrace, cancelWork) })()

	r.live.homeserver.OnUp(in.HomeserverUp)
	keys, wantsRooms := new(appservice.Broadcast), r.wantsSideSync(ctx)
	d := appservice.NewDispatcher(stop, work, appservice.DispatcherDeps{
		Node: r.node, Log: r.log, Library: r.library, Bridge: in.Bridge(), Matrix: in.matrix, Status: in.status,
		Deduper: in.Deduper(), Rooms: in.Rooms(), Relay: in.Relay(), Attachments: in.attachments,
		Wake: r.wake, Retry: r.opts.Retry, SideSync: wantsRooms,
		Keys: keys, Trust: r.opts.Config.Encryption.VerificationLevels.Send,
	})
	in.inbound.Store(d)
	side := appservice.NewSideSync(appservice.SideSyncDeps{
		Node: r.node, Log: r.log, Library: r.library, Bridge: in.Bridge(), Matrix: in.matrix, Backlog: in.backlog,
		Wake: r.stored, Keys: keys, Ephemeral: d.OfferEphemeral, Retry: r.opts.Retry, Rooms: wantsRooms,
	})
	part := func(name string, run func() error) {
		group.Go(func() error { return fault.Guard(r.log, name, run) })
	}
	part("deliver", func() error { return in.Deliverer().Run(stop, work) })
	part("dispatch", d.Run)
	if wantsRooms || in.matrix.Device() != nil {
		part("side sync", func() error { return side.Run(stop) })
	}
	part("background of the connector", func() error { return in.RunBackground(stop) })
	part("probe", func() error { return r.probe(stop, in) })
	part("start logins", func() error {
		library := r.library.WithContext(work)
		if err := in.Bridge().StartLogins(library); err != nil {
			return fmt.Errorf("start the logins: %w", err)
		}
		in.Bridge().PostStart(library)
		in.LoginsStarted()
		if err := in.SelfTest(mautrix.WithMaxRetries(library, 0)); err != nil && work.Err() == nil {
			r.log.Warn("self-test not sent, inbound health unknown", "err", fault.OneLine(err))
		}
		return nil
	})
	r.listener.SetRoutes(in.matrix.AppService().Router)
	defer r.listener.SetRoutes(nil)
	r.live.set(StateRunning, nil, in)
	r.log.Info("bridge running", "server", r.opts.Config.Homeserver.Domain, "address", r.listener.Address().String())

	<-stop.Done()
	if ctx.Err() != nil {
		r.listener.Refuse()
	}
	err := group.Wait()
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// wantsSideSync reports whether the bridge fetches redactions, receipts and typing
// notices.
func (r *runner) wantsSideSync(ctx context.Context) bool {
	switch r.opts.Config.Homeserver.SideSync {
	case config.SideSyncAlways:
		return true
	case config.SideSyncNever:
		return false
	}
	server := homeserver.NewProbe(r.opts.Config.Homeserver.Address)
	defer server.Close()
	name, _ := server.Version(ctx)
	return name != "Synapse" // Synapse pushes all of them. What is both pushed and fetched is handled once.
}

// probe probes the homeserver and our listener, so that their health is known also when
// nobody writes.
func (r *runner) probe(stop context.Context, in *instance) error {
	tick := time.NewTicker(min(probeDown, 10*r.opts.Retry.Min))
	defer tick.Stop()
	listenerTested := time.Now()
	for {
		select {
		case <-stop.Done():
			return nil
		case <-r.listener.Ended():
			return fmt.Errorf("%w: %w", errListenerEnded, r.listener.Err())
		case <-tick.C:
		}
		if h := &r.live.homeserver; !h.Health().OK || h.QuietFor() > probeEvery {
			// The transport notes the outcome.
			ctx := mautrix.WithMaxRetries(stop, 0)
			_, _ = in.matrix.Bot().GetDisplayName(ctx, in.matrix.Bot().UserID)
		}
		if time.Since(listenerTested) > min(probeEvery, r.opts.UnreachableAfter) {
			listenerTested = time.Now()
			r.testListener(stop, in)
		}
	}
}

// testListener tests whether our listener answers, and whether the homeserver pushes
// events to it.
func (r *runner) testListener(stop context.Context, in *instance) {
	err := r.listener.Test(stop)
	if stop.Err() != nil {
		return
	}
	changed, unreachable := r.listener.Inbound.Check(r.opts.UnreachableAfter, r.opts.Config.AppService.Address, func() error {
		return in.SelfTest(mautrix.WithMaxRetries(r.library.WithContext(stop), 0))
	})
	if err = errors.Join(err, unreachable); err == nil {
		r.live.listener.Up()
	} else {
		r.live.listener.Down(err)
		r.log.Warn("homeserver might be unable to reach the bridge", "err", err)
	}
	if changed {
		in.TellInbound(unreachable)
	}
}

var _ kernel.Actor = (*bridgeActor)(nil)
