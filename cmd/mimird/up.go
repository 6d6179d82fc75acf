// SPDX-License-Identifier: MPL-2.0

package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/mdp/qrterminal/v3"
	"github.com/spf13/cobra"

	"github.com/mimird/mimird/actors/answering"
	"github.com/mimird/mimird/actors/control"
	"github.com/mimird/mimird/actors/control/client"
	"github.com/mimird/mimird/actors/durable"
	"github.com/mimird/mimird/actors/fileserver"
	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/actors/mediatorserver"
	"github.com/mimird/mimird/actors/node"
	"github.com/mimird/mimird/actors/notify"
	"github.com/mimird/mimird/actors/overlay"
	"github.com/mimird/mimird/actors/resolver"
	"github.com/mimird/mimird/actors/search"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/actors/trackerserver"
	"github.com/mimird/mimird/actors/transfer"
	"github.com/mimird/mimird/actors/uplink"
	"github.com/mimird/mimird/cmd/internal/watch"
	"github.com/mimird/mimird/config"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/tracker"
)

const (
	// stopTime is what an orderly stop gets in all, closeTime the part of it that is for
	// closing the store.
	stopTime  = 10 * time.Second
	closeTime = 1500 * time.Millisecond
	// controlTime is how long the first start of the control API is waited for.
	controlTime = 2 * time.Second
	// inUseTime is how long a start waits for another process that has the data directory
	// open, inUsePoll how often it tries.
	inUseTime = 30 * time.Second
	inUsePoll = 200 * time.Millisecond
	// maxSocketPath is how long the path of a unix socket may be on every system.
	maxSocketPath = 103
)

func newUp(f *flags) *cobra.Command {
	var name string
	var noQR, newNodeKey bool
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Run the node",
		Long: "Runs the node until it gets an interrupt or terminate signal; a second signal ends it at once, and nothing is\n" +
			"lost by that. The first start creates the data directory, a commented configuration and an account, and prints\n" +
			"the account's link and QR code. On a terminal it asks for the account's name, unless --name gives it.\n\n" +
			"Exit codes: 0 stopped in order, 1 anything else, 2 the configuration is wrong or missing, or others\n" +
			"can read a key, 3 the store is damaged or a key of the node is lost, 4 the disk is full, 5 another process has the data directory open, 6 a newer version has written it.\n" +
			"After 2, 3, 5 and 6 starting again does not help.",
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !cmd.Flags().Changed("name") && !f.json {
				asked, err := askName(cmd, f, name)
				if err != nil {
					return err
				}
				name = asked
			}
			return up(cmd.Context(), f, upOptions{name: name, noQR: noQR, newNodeKey: newNodeKey, out: cmd.OutOrStdout(), log: cmd.ErrOrStderr()})
		},
	}
	cmd.Flags().StringVar(&name, "name", "home", "name of the account that the first start creates")
	cmd.Flags().BoolVar(&noQR, "no-qr", false, "print the link without the QR code")
	cmd.Flags().BoolVar(&newNodeKey, "new-node-key", false, "go on with another node key when the old one is lost")
	return cmd
}

// maxName is the longest name of an account, in bytes.
const maxName = 64

// askName asks for the name of the account that the first start is going to create. It
// asks only people, only once, and takes otherwise for no answer.
func askName(cmd *cobra.Command, f *flags, otherwise string) (string, error) {
	if !isTerminal(cmd.InOrStdin()) || !isTerminal(cmd.OutOrStdout()) {
		return otherwise, nil
	}
	if _, err := os.Stat(filepath.Join(f.dir, storeDir)); !errors.Is(err, fs.ErrNotExist) {
		return otherwise, nil
	}
	if c, err := f.load(); err != nil {
		return "", err
	} else if !c.Has(config.RoleNode) {
		return otherwise, nil
	}
	fmt.Fprintf(cmd.OutOrStdout(), "What is your name? Your contacts see it; mimird account set changes it. [%s] ", otherwise)
	type line struct {
		text string
		err  error
	}
	read := make(chan line, 1)
	// The read ends with the process when it is interrupted here.
	go func() {
		text, err := bufio.NewReader(io.LimitReader(cmd.InOrStdin(), 4096)).ReadString('\n')
		read <- line{text, err}
	}()
	select {
	case <-cmd.Context().Done():
		return "", cmd.Context().Err()
	case l := <-read:
		if l.err != nil && !errors.Is(l.err, io.EOF) {
			return "", fmt.Errorf("read name: %w", l.err)
		}
		name := strings.TrimSpace(printable(l.text))
		if len(name) > maxName {
			return "", fmt.Errorf("the name has %d bytes, at most %d are possible; start again with a shorter one", len(name), maxName)
		}
		return cmp.Or(name, otherwise), nil
	}
}

type upOptions struct {
	name       string
	noQR       bool
	newNodeKey bool
	out, log   io.Writer
}

// up runs the node until ctx ends or the node fails.
func up(ctx context.Context, f *flags, o upOptions) (err error) {
	if err := prepareDir(f); err != nil {
		return err
	}
	c, err := f.load()
	if err != nil {
		return err
	}
	if c.Backup.Target != "" {
		if _, err := backupPassphrase(f, c); err != nil {
			return configError{err}
		}
	}
	out, closeLog, err := openLog(o.log, c.Log, f.dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeLog()) }()
	log := newLogger(out, c.Log)
	opts, err := nodeOptions(f, c, log)
	if err != nil {
		return err
	}
	opts.ReplaceNodeKeys = o.newNodeKey
	store.SpareProcessor()
	api := client.New(f.socket(c))
	node, err := whenFree(ctx, log, func() (*node.Node, error) { return node.Open(opts) }, func() bool {
		_, err := api.Accounts(ctx)
		return !errors.Is(err, client.ErrNotRunning)
	})
	api.Close()
	if ctx.Err() != nil {
		return nil // stopped before it was there
	}
	if err != nil {
		return err
	}
	defer func() {
		log.Info("stopping")
		err = errors.Join(err, stop(context.WithoutCancel(ctx), node))
	}()
	err = start(ctx, f, o, node, c)
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return nil // stopped before it was there
	}
	if err != nil {
		return err
	}
	defer tellManager(ctx, log, node.Alive)()
	select {
	case <-ctx.Done():
		return nil
	case <-node.Failed():
		return node.Err()
	}
}

// whenFree calls open until no other process has the data directory open, for at most
// inUseTime: check, export and backup of a stopped node have it for a while, and so has a
// node that stops. It does not wait for a node that runs.
func whenFree[T any](ctx context.Context, log *slog.Logger, open func() (T, error), runs func() bool) (opened T, err error) {
	deadline := time.Now().Add(inUseTime)
	for told := false; ; told = true {
		opened, err = open()
		if !errors.Is(err, store.ErrInUse) || runs() || time.Now().After(deadline) {
			return opened, err
		}
		if !told {
			log.Warn("data directory in use by another process, waiting", "limit", inUseTime)
		}
		timer := time.NewTimer(inUsePoll)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return opened, ctx.Err()
		}
	}
}

// stop stops the node and closes its store, in stopTime. What does not end by then is
// left to the end of the process; nothing that was accepted is lost.
func stop(ctx context.Context, node *node.Node) error {
	ctx, cancel := context.WithTimeout(ctx, stopTime)
	defer cancel()
	stopping, done := context.WithTimeout(ctx, stopTime-closeTime)
	defer done()
	err := node.Stop(stopping)
	closed := make(chan error, 1)
	go func() { closed <- node.Close() }()
	select {
	case closeErr := <-closed:
		return errors.Join(err, closeErr)
	case <-ctx.Done():
		return errors.Join(err, errors.New("close the store: still being read"))
	}
}

// start starts the node and says so.
func start(ctx context.Context, f *flags, o upOptions, node *node.Node, c config.Config) error {
	if err := node.Start(ctx); err != nil {
		return err
	}
	lost, err := node.KeyProblems()
	if err != nil {
		return err
	}
	g := startReport{Version: version().String(), Control: f.socket(c), node: c.Has(config.RoleNode)}
	if c.Has(config.RoleNode) {
		account, err := firstAccount(ctx, node, o.name)
		if err != nil {
			return err
		}
		g.Account, g.Link, g.Node = account.Name, node.Link(account).String(), node.Key().String()
	}
	for _, p := range lost {
		g.Lost = append(g.Lost, p.String())
	}
	g.Page = awaitControl(ctx, g.Control)
	return greet(f, o, node, g)
}

// awaitControl waits until commands reach the node, so that they work as soon as the
// report is printed, and returns where the page is, "" without one. It gives up after
// controlTime: the node runs without its control API.
func awaitControl(ctx context.Context, socket string) (page string) {
	ctx, cancel := context.WithTimeout(ctx, controlTime)
	defer cancel()
	api := client.New(socket)
	defer api.Close()
	for {
		state, err := api.Page(ctx)
		if !errors.Is(err, client.ErrNotRunning) {
			return state.URL
		}
		select {
		case <-ctx.Done():
			return ""
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// prepareDir creates the data directory with a commented configuration. A directory
// that has a store had one: without it the node would run with public peers and
// without the bridge.
func prepareDir(f *flags) error {
	if err := durable.MkdirAll(f.dir); err != nil {
		return fmt.Errorf("make data directory: %w; choose another one with --data", err)
	}
	if f.config != "" {
		return nil // it must be there
	}
	if _, err := os.Stat(f.configPath()); errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Stat(filepath.Join(f.dir, storeDir)); err == nil {
			return configError{fmt.Errorf("%s is missing, and %s has a store; bring it back from a backup, give another one with --config, or make an empty file of that name for the defaults", f.configPath(), f.dir)}
		}
	}
	file, err := os.OpenFile(f.configPath(), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("write configuration: %w; can this user write to %s?", err, f.dir)
	}
	_, err = file.Write(config.Example())
	if err = errors.Join(err, file.Close()); err != nil {
		return fmt.Errorf("write configuration: %w", err)
	}
	return nil
}

// nodeOptions turns a configuration into a node with all its parts.
func nodeOptions(f *flags, c config.Config, log *slog.Logger) (node.Options, error) {
	if n := len(f.socket(c)); n > maxSocketPath {
		return node.Options{}, configError{fmt.Errorf(
			"control.socket: the path %s has %d bytes, and the system takes %d; give a shorter one", clip(f.socket(c)), n, maxSocketPath)}
	}
	opts := node.Options{
		Dir: f.dir, Logger: log,
		SessionIdle: time.Duration(c.Session.Idle), CallRing: time.Duration(c.Calls.Ring),
		Answering:   answering.Options{Ring: time.Duration(c.Calls.AnswerAfter), MaxMessage: time.Duration(c.Calls.MaxMessage)},
		MaxSessions: c.Session.Max, MaxOutbox: c.Outbox.MaxMessages,
	}
	if c.Has(config.RoleNode) {
		opts.OpenNetwork = opener(c, c.Yggdrasil.Listen, log)
	}
	for _, t := range c.Trackers {
		opts.Trackers = append(opts.Trackers, t.Address)
	}
	for _, t := range c.Yggdrasil.OldTrackers {
		old, err := resolver.ParseTrackerV1(t)
		if err != nil {
			return node.Options{}, configError{fmt.Errorf("yggdrasil.old_trackers: %q: %w", clip(t), err)}
		}
		opts.TrackersV1 = append(opts.TrackersV1, old)
	}
	opts.RefusePointChallenges = c.Security.RefusePointChallenges
	for _, k := range c.Security.OwnDevices {
		opts.OwnDevices = append(opts.OwnDevices, k.NodeKey)
	}
	for _, k := range c.Groups.Mediators {
		opts.Mediators = append(opts.Mediators, k.NodeKey)
	}
	if c.Has(config.RoleTracker) {
		opts.Tracker = &trackerserver.Options{
			OpenNetwork: opener(c, c.Server.Listen, log.With("role", "tracker")), MaxIdentities: c.Server.MaxIdentities,
		}
		for _, s := range c.Server.SyncWith {
			partner, err := trackerserver.ParsePartner(s)
			if err != nil {
				return node.Options{}, configError{fmt.Errorf("tracker.sync_with: %q: %w", clip(s), err)}
			}
			opts.Tracker.SyncWith = append(opts.Tracker.SyncWith, partner)
		}
	}
	opts.Media = mediaOptions(c)
	policy, err := retentionPolicy(c)
	if err != nil {
		return node.Options{}, configError{err}
	}
	for name := range c.Notify {
		policy.WholeLog = append(policy.WholeLog, notify.Consumer(name))
	}
	opts.Retention = policy
	if c.Has(config.RoleFiles) {
		opts.Files = &fileserver.Options{
			OpenNetwork: opener(c, c.Files.Listen, log.With("role", "files")),
			Quota:       int64(c.Files.Quota), PerIdentity: int64(c.Files.PerIdentity), Keep: time.Duration(c.Files.Keep),
		}
	}
	if c.Has(config.RoleMediator) {
		opts.Mediator = mediatorOptions(c, log)
	}
	var backup func(context.Context) (bool, error)
	var index *search.Service
	if c.Has(config.RoleNode) {
		index = search.New(f.dir)
	}
	status := make(map[string]func(context.Context) (any, error))
	if c.Has(config.RoleMatrix) {
		part, ask, err := matrixPart(f, c, index)
		if err != nil {
			return node.Options{}, configError{err}
		}
		opts.Parts = append(opts.Parts, part)
		status[part.Name] = ask
	}
	if len(c.Notify) > 0 && c.Has(config.RoleNode) {
		part, ask := notifyPart(f, c)
		opts.Parts = append(opts.Parts, part)
		status[part.Name] = ask
	}
	if c.Backup.Target != "" {
		part, ask, begin, err := backupsPart(f, c)
		backup = begin
		if err != nil {
			return node.Options{}, configError{err}
		}
		opts.Parts = append(opts.Parts, part)
		status[part.Name] = ask
	}
	api := controlOptions(f, c)
	api.Parts = status
	if api.Search = index; index != nil {
		opts.Parts = append(opts.Parts, node.Part{Name: "search", New: func(n *node.Node) kernel.Actor { return index.NewActor(n) }})
	}
	page, access, has := pagePart(f, c, backup)
	if has {
		api.Page = access
	}
	opts.Parts = append(opts.Parts, node.Part{Name: "control", New: control.New(api)})
	if has {
		opts.Parts = append(opts.Parts, page)
	}
	if c.Metrics.Listen != "" {
		opts.Parts = append(opts.Parts, node.Part{Name: "metrics", New: watch.New(c.Metrics.Listen, api.Socket)})
	}
	return opts, nil
}

// mediatorOptions are those of the mediator role. A node connects once for each of its
// accounts, so one node key may have many streams, unlike with the other roles.
func mediatorOptions(c config.Config, log *slog.Logger) *mediatorserver.Options {
	m := c.Mediator
	limits := overlay.Limits{
		// A quarter is for streams that the role opens itself, which are none.
		Connections: 4096 + m.MaxConnections*2, ConnectionsPerKey: mediatorserver.MaxConnectionsPerNode, HalfOpen: 1024, Backlog: 128,
	}
	o := &mediatorserver.Options{
		OpenNetwork: openerWith(c, m.Listen, log.With("role", "mediator"), limits),
		Limits: store.MediatorLimits{
			Groups: uint64(m.MaxGroups), GroupsPerOwner: uint64(m.GroupsOfOwner), MembersPerGroup: uint64(m.MaxMembers),
			Bytes: uint64(m.Quota), BytesPerGroup: uint64(m.PerGroup), BytesPerOwner: uint64(m.PerOwner), BytesPerMember: uint64(m.PerMember),
		},
		MaxMessage: int(m.MaxMessage), Keep: time.Duration(m.Keep), MaxConnections: m.MaxConnections,
	}
	if m.Create == config.CreateListed {
		o.Creators = make([]identity.PublicKey, 0, len(m.Creators))
		for _, who := range m.Creators {
			o.Creators = append(o.Creators, who.PublicKey)
		}
	}
	return o
}

// mediaOptions says what becomes of the files of messages.
func mediaOptions(c config.Config) transfer.Options {
	m := transfer.Options{
		Server: c.Media.Server.NodeKey, KnownServersOnly: c.Media.FetchFrom == config.FetchFromKnown,
		Quota: int64(c.Media.Quota), MaxFile: int64(c.Media.MaxFile), Patience: time.Duration(c.Media.Patience),
		AutoDownload: int64(c.Media.AutoDownload), AutoDownloadStrangers: int64(c.Media.AutoDownloadStrangers),
		TrustUploads: !c.Media.VerifyUploads,
	}
	if c.Has(config.RoleMatrix) {
		m.Consumers = []string{matrixName}
	}
	return m
}

// controlOptions are those of the control API that do not need a running node.
func controlOptions(f *flags, c config.Config) control.Options {
	o := control.Options{Handlers: socketHandlers(), Socket: f.socket(c), Version: version().String(), Backup: backupOf(f, c)}
	if c.Has(config.RoleMatrix) {
		o.Consumers = []string{matrixName} // the bridge reads the event log under its own name
	}
	return o
}

// opener returns how a node joins the overlay that the configuration describes.
func opener(c config.Config, listen []string, log *slog.Logger) func(identity.NodePrivateKey) (uplink.Network, error) {
	return openerWith(c, listen, log, overlay.Limits{})
}

func openerWith(c config.Config, listen []string, log *slog.Logger, limits overlay.Limits) func(identity.NodePrivateKey) (uplink.Network, error) {
	return func(key identity.NodePrivateKey) (uplink.Network, error) {
		options := overlay.Options{Key: key, Peers: c.Yggdrasil.Peers, Connected: c.Yggdrasil.Connected, Listen: listen, Logger: log, Limits: limits}
		if c.Yggdrasil.Multicast {
			options.Multicast = []overlay.MulticastInterface{{Regex: ".*", Beacon: true, Listen: true}}
		}
		network, err := overlay.Open(options)
		if err != nil {
			return nil, err
		}
		for _, carrier := range c.Yggdrasil.Carriers {
			enable := func() error { return network.Enable(overlay.Kind(carrier)) }
			if carrier == config.CarrierTCP && c.Yggdrasil.SystemTCP {
				enable = func() error { return network.EnableSystem(nil) }
			}
			if err := enable(); err != nil {
				return nil, errors.Join(err, network.Close())
			}
		}
		return network, nil
	}
}

// firstAccount returns the first account of a node; a new node gets one.
func firstAccount(ctx context.Context, node *node.Node, name string) (store.Account, error) {
	accounts, err := node.Accounts()
	if err != nil {
		return store.Account{}, err
	}
	if len(accounts) > 0 {
		return accounts[0], nil
	}
	return node.CreateAccount(ctx, name)
}

// startReport is what up prints when the node runs, before there is any network.
type startReport struct {
	Version string `json:"version"`
	Data    string `json:"data"`
	Account string `json:"account,omitempty"`
	Link    string `json:"link,omitempty"`
	Node    string `json:"node,omitempty"`
	Control string `json:"control"`
	Tracker string `json:"tracker,omitempty"`
	Files   string `json:"files,omitempty"`
	// Mediator is the node key of the mediator that this process is.
	Mediator string `json:"mediator,omitempty"`
	// Page is where browsers reach the page of the node.
	Page string `json:"page,omitempty"`
	// Lost are keys that are missing, one sentence each.
	Lost []string `json:"lost,omitempty"`

	node bool // there are accounts
}

func greet(f *flags, o upOptions, node *node.Node, g startReport) error {
	g.Data = f.dir
	if dir, err := filepath.Abs(f.dir); err == nil {
		g.Data = dir
	}
	if key, ok := node.TrackerKey(); ok {
		g.Tracker = tracker.Address{Node: key, Port: tracker.Port}.String()
	}
	if key, ok := node.FilesKey(); ok {
		g.Files = key.String()
	}
	if key, ok := node.MediatorKey(); ok {
		g.Mediator = key.String()
	}
	return f.print(o.out, g, func() {
		fmt.Fprintf(o.out, "mimird %s   data %s\n", g.Version, g.Data)
		if g.Tracker != "" {
			fmt.Fprintf(o.out, "  your tracker   %s\n", g.Tracker)
		}
		if g.Files != "" {
			fmt.Fprintf(o.out, "  your file server   %s\n", g.Files)
		}
		if g.Mediator != "" {
			fmt.Fprintf(o.out, "  your mediator   %s\n\n", g.Mediator)
		}
		for _, text := range g.Lost {
			fmt.Fprintf(o.out, "  warning: %s\n", printable(text))
		}
		if g.Page != "" {
			fmt.Fprintf(o.out, "  your page   %s; let a browser in with: mimird page link\n", g.Page)
		}
		if g.Link != "" {
			fmt.Fprintf(o.out, "  account     %s; scan this in Mimir (Add contact), or copy the link:\n", printable(g.Account))
			printLink(o.out, g.Link, !o.noQR)
		}
		commands := "mimird status"
		if g.node {
			commands = "mimird status, mimird tail, mimird send"
		}
		fmt.Fprintf(o.out, "Running. Ctrl-C stops; everything stays. In another terminal: %s.\n", commands)
	})
}

// The link and its QR code fit into the smallest usual terminal, with one line more.
const (
	screenWidth  = 80
	screenHeight = 24
	// quietZone is the light around a QR code that the standard wants, in modules. Where
	// it does not fit it is less, which readers accept.
	quietZone = 4
)

// printLink shows what others scan or copy to add an account.
func printLink(w io.Writer, link string, qr bool) {
	line := "  your link   " + link
	fmt.Fprintln(w, line)
	if !qr {
		return
	}
	above := (len(line) + screenWidth - 1) / screenWidth
	code := qrCode(link, quietZone)
	for zone := quietZone; zone > 0; zone-- {
		if small := qrCode(link, zone); bytes.Count(small, []byte("\n"))+above < screenHeight {
			code = small
			break
		}
	}
	_, _ = w.Write(code) // what it writes to reports its own errors
}

// qrCode draws a QR code with the given number of light modules around it.
func qrCode(link string, zone int) []byte {
	var b bytes.Buffer
	qrterminal.GenerateWithConfig(link, qrterminal.Config{
		Level: qrterminal.L, Writer: &b, HalfBlocks: true, QuietZone: zone,
		BlackChar: qrterminal.BLACK_BLACK, WhiteChar: qrterminal.WHITE_WHITE,
		BlackWhiteChar: qrterminal.BLACK_WHITE, WhiteBlackChar: qrterminal.WHITE_BLACK,
	})
	return b.Bytes()
}
