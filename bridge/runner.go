// SPDX-License-Identifier: MPL-2.0

package bridge

import (
	"context"
	"errors"
	"fmt"
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
	"github.com/mimird/mimird/bridge/appservice"
	"github.com/mimird/mimird/bridge/config"
	"github.com/mimird/mimird/bridge/connector"
	"github.com/mimird/mimird/bridge/deliver"
	"github.com/mimird/mimird/bridge/fault"
	"github.com/mimird/mimird/bridge/homeserver"
	"github.com/mimird/mimird/bridge/library"
)

const (
	defaultRetryMin = time.Second
	defaultRetryMax = 5 * time.Minute

	// stopGrace is how long a stopping bridge lets what is under way finish. The
	// kernel gives the actor's goroutines 5 s in all.
	stopGrace = 2 * time.Second
	// libraryGrace is how long bridgev2 may take for its own end.
	libraryGrace = time.Second
	// lastRequests is how long after the order to stop a request to the homeserver
	// may last, and listenerGrace how long the listener may take then.
	lastRequests  = 4 * time.Second
	listenerGrace = 500 * time.Millisecond

	// probeEvery is how often homeserver and listener are looked at.
	probeEvery = 20 * time.Second
	// probeDown is how often a homeserver that is down is looked at.
	probeDown = 2 * time.Second
)

// runner is the goroutine that is the bridge.
type runner struct {
	opts      Options
	node      Node
	log       *slog.Logger
	library   zerolog.Logger
	condition *condition

	wake     chan struct{} // capacity 1: a transaction was stored
	listener *appservice.Listener
	base     http.RoundTripper // instead of the network, when set
}

// run bridges until ctx ends. Whatever fails is started again, after a back-off
// of our own: neither a homeserver that is away nor a wrong token is a reason to
// disturb the node. The listener stays throughout, so what the homeserver pushes
// is taken in also while the rest is started again.
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
			r.condition.listener.Down(err)
			r.listener.Close(0)
			r.listener = nil
		}
		return err
	})
	return nil
}

var errListenerEnded = errors.New("the listener for the homeserver has ended")

// attempt calls what until it returns no error, or until ctx ends.
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
		r.condition.set(StateFailed, err, nil)
		r.log.Error("the Matrix bridge does not run, it will be started again", "error", err, "retry_in", delay)
		timer := time.NewTimer(delay)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
		r.condition.starting()
	}
}

func (r *runner) listen(ctx context.Context) error {
	config := r.opts.Config.AppService
	l := appservice.NewListener(appservice.ListenerOptions{
		Node: r.node, Log: r.log, Token: config.HSToken, Domain: r.opts.Config.Homeserver.Domain, Stored: r.stored,
	})
	if err := l.Open(ctx, config.Hostname, config.Port); err != nil {
		r.condition.listener.Down(err)
		return err
	}
	r.condition.listener.Up()
	r.listener = l
	return nil
}

// stored is called by the listener.
func (r *runner) stored() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// A delivery to a slow room keeps the lane of that room waiting: there are more lanes.
var _ [appservice.MaxLanes - deliver.MaxDeliveries - 1]struct{}

// incarnation is one start of bridgev2.
type incarnation struct {
	*connector.Connector
	matrix      library.Matrix
	status      *library.StatusSender
	attachments *appservice.Attachments
	backlog     *homeserver.Backlog
	transport   *homeserver.Transport
	inbound     atomic.Pointer[appservice.Dispatcher] // nil before it runs
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
	// One try at a time: the library repeats by itself what has to be repeated.
	start, cancel := context.WithCancel(mautrix.WithMaxRetries(ctx, 0))
	defer cancel() // some of what it starts goes on in the background
	if err := in.Bridge().StartConnectors(r.library.WithContext(start)); err != nil {
		return explain(err)
	}
	return r.serve(ctx, in)
}

// build makes a bridge that does nothing yet.
func (r *runner) build(ctx context.Context, db *dbutil.Database) (*incarnation, error) {
	lib := r.opts.Config.Library()
	matrix, status, err := library.New(lib, r.opts.Config.Homeserver.IgnoreUnsupported, r.log)
	if err != nil {
		return nil, err
	}
	in := &incarnation{matrix: matrix, status: status, attachments: new(appservice.Attachments), backlog: new(homeserver.Backlog)}
	in.Connector = connector.New(connector.Deps{
		Node: r.node, Config: r.opts.Config, Log: r.log, Library: r.library, Matrix: matrix, Status: status,
		Homeserver: &r.condition.homeserver, Backlog: in.backlog, Attachments: in.attachments, Retry: r.opts.Retry,
		Direct: func(req *http.Request) (*http.Response, error) { return in.transport.Direct(req) },
	})
	br := bridgev2.NewBridge("", db, r.library, &lib.Bridge, matrix, in.Connector, func(br *bridgev2.Bridge) bridgev2.CommandProcessor {
		return commands.NewProcessor(br)
	})
	connector.SerializeCommands(br)
	client := matrix.AppService().HTTPClient
	if r.base != nil {
		client.Transport = r.base
	}
	in.transport = homeserver.NewTransport(ctx, homeserver.Deps{
		Log: r.log, Base: client.Transport, Linger: lastRequests,
		Retries: r.opts.Config.Homeserver.RetryLimit, Pause: 2 * r.opts.Retry.Min,
		Homeserver: &r.condition.homeserver, Sent: r.listener.Inbound.Sent, MustEncrypt: matrix.IsEncrypted,
		FindRoom: in.FindRoom, IsOurs: in.IsOurs, Registered: in.UserRegistered, Refused: in.RequestRefused,
	})
	client.Transport, client.Timeout = in.transport, 0
	return in, nil
}

// end releases all that an incarnation holds, also one that was never started.
func (in *incarnation) end() {
	logins := in.Bridge().GetAllCachedUserLogins()
	in.Bridge().StopWithTimeout(libraryGrace)
	for _, login := range logins {
		if login.BridgeState != nil {
			login.BridgeState.Destroy() // the library leaves its goroutine
		}
	}
	in.transport.Close()
}

// awaitHomeserver waits until the homeserver answers, and makes sure that the bot
// exists: some homeservers let a user do nothing before.
func (r *runner) awaitHomeserver(ctx context.Context, in *incarnation) error {
	ctx = mautrix.WithMaxRetries(r.library.WithContext(ctx), 0)
	for try := 0; ; try++ {
		err := in.matrix.Bot().Register(ctx)
		if err == nil || errors.Is(err, mautrix.MUserInUse) {
			in.matrix.Bot().Registered = true
			r.condition.homeserver.Up()
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if failure := (mautrix.HTTPError{}); errors.As(err, &failure) && failure.Response != nil &&
			failure.Response.StatusCode < http.StatusInternalServerError && failure.Response.StatusCode != http.StatusTooManyRequests {
			return explain(err)
		}
		r.condition.homeserver.Down(fmt.Errorf("the homeserver cannot be reached: %w", err))
		if try == 0 {
			r.log.Warn("the homeserver cannot be reached, the bridge waits for it", "error", fault.OneLine(err))
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

// explain adds to an error of the start what to do about it.
func explain(err error) error {
	switch {
	case errors.Is(err, mautrix.MUnknownToken):
		return fmt.Errorf("the homeserver does not know the bridge: give it the registration file and restart it (%w)", err)
	case errors.Is(err, mautrix.MExclusive), errors.Is(err, mautrix.MForbidden):
		return fmt.Errorf("the registration file that the homeserver has does not fit homeserver.domain, appservice.bot "+
			"and appservice.username_template: make it anew and restart the homeserver (%w)", err)
	default:
		return fmt.Errorf("start the bridge: %w", err)
	}
}

// serve is the bridge while it runs. It returns after an orderly end, with nil
// when that is because ctx has ended.
func (r *runner) serve(ctx context.Context, in *incarnation) error {
	// stop ends what begins something new, work what is under way.
	group, stop := errgroup.WithContext(ctx)
	work, cancelWork := context.WithCancel(context.WithoutCancel(ctx))
	defer cancelWork()
	defer context.AfterFunc(stop, func() { time.AfterFunc(stopGrace, cancelWork) })()

	r.condition.homeserver.OnUp(in.HomeserverUp)
	keys, wantsRooms := new(appservice.Broadcast), r.wantsSideSync(ctx)
	d := appservice.NewDispatcher(appservice.DispatcherDeps{
		Node: r.node, Log: r.log, Library: r.library, Bridge: in.Bridge(), Matrix: in.matrix, Status: in.status,
		Deduper: in.Deduper(), Rooms: in.Rooms(), Attachments: in.attachments,
		Wake: r.wake, Retry: r.opts.Retry, SideSync: wantsRooms,
		Keys: keys, Trust: r.opts.Config.Encryption.VerificationLevels.Send,
	}, stop, work)
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
			r.log.Warn("the bridge cannot test whether the homeserver reaches it", "error", fault.OneLine(err))
		}
		return nil
	})
	r.listener.SetRoutes(in.matrix.AppService().Router)
	defer r.listener.SetRoutes(nil)
	r.condition.set(StateRunning, nil, in)
	r.log.Info("the Matrix bridge runs", "homeserver", r.opts.Config.Homeserver.Domain, "listens_at", r.listener.Address().String())

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

// wantsSideSync reports whether redactions, receipts and typing notices have to be
// fetched.
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
	return name != "Synapse" // which pushes all of it; what cannot be known is fetched, twice is once
}

// probe looks at the homeserver and at our listener from time to time, so that a
// quiet bridge knows too.
func (r *runner) probe(stop context.Context, in *incarnation) error {
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
		if h := &r.condition.homeserver; !h.Health().OK || h.QuietFor() > probeEvery {
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

// testListener looks whether our listener answers, and whether the homeserver
// comes there.
func (r *runner) testListener(stop context.Context, in *incarnation) {
	err := r.listener.Test(stop)
	if stop.Err() != nil {
		return
	}
	changed, unheard := r.listener.Inbound.Check(r.opts.UnreachableAfter, r.opts.Config.AppService.Address, func() error {
		return in.SelfTest(mautrix.WithMaxRetries(r.library.WithContext(stop), 0))
	})
	if err = errors.Join(err, unheard); err == nil {
		r.condition.listener.Up()
	} else {
		r.condition.listener.Down(err)
		r.log.Warn("the homeserver may not reach the bridge", "error", err)
	}
	if changed {
		in.TellInbound(unheard)
	}
}

var _ kernel.Actor = (*bridgeActor)(nil)
