// SPDX-License-Identifier: MPL-2.0

package connector

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"sync"

	"go.mau.fi/util/configupgrade"
	"golang.org/x/sync/errgroup"
	"maunium.net/go/mautrix/bridgev2"
	"maunium.net/go/mautrix/bridgev2/commands"
	"maunium.net/go/mautrix/bridgev2/database"
	"maunium.net/go/mautrix/bridgev2/networkid"
	"maunium.net/go/mautrix/id"

	"github.com/rs/zerolog"

	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/bridge/appservice"
	"github.com/mimird/mimird/bridge/botcommands"
	"github.com/mimird/mimird/bridge/config"
	"github.com/mimird/mimird/bridge/deliver"
	"github.com/mimird/mimird/bridge/fault"
	"github.com/mimird/mimird/bridge/groups"
	"github.com/mimird/mimird/bridge/homeserver"
	"github.com/mimird/mimird/bridge/library"
	"github.com/mimird/mimird/bridge/mimirid"
	"github.com/mimird/mimird/bridge/msgconv"
	"github.com/mimird/mimird/bridge/nodeapi"
	"github.com/mimird/mimird/bridge/notices"
	"github.com/mimird/mimird/bridge/people"
	"github.com/mimird/mimird/bridge/publicmedia"
	"github.com/mimird/mimird/bridge/readmarks"
	"github.com/mimird/mimird/bridge/relay"
	"github.com/mimird/mimird/bridge/restored"
	"github.com/mimird/mimird/bridge/rooms"
	"github.com/mimird/mimird/bridge/show"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/peer"
)

// Connector is the bridgev2.NetworkConnector for Mimir. There is a new one for every
// start of the bridge.
type Connector struct {
	node    nodeapi.Node
	version string
	// groups is the node as one that takes part in groups, nil when it does not.
	groups nodeapi.GroupNode
	// conversations reads those of both.
	conversations *nodeapi.Conversations
	search        botcommands.Search // nil without an index
	// publicMedia makes links to files, nil when the configuration has none.
	publicMedia *publicmedia.Files

	config  *config.Config
	log     *slog.Logger
	library zerolog.Logger
	br      *bridgev2.Bridge
	matrix  library.Matrix
	status  *library.StatusSender
	deliver *deliver.Deliverer
	// retry is the back-off of what is retried in goroutines of the connector.
	retry   kernel.Backoff
	deduper *homeserver.Deduper
	rooms   *rooms.Finder   // nil before Init
	relay   *relay.Relay    // nil before Init
	puppets *people.Puppets // nil before Init
	names   *people.Names   // nil before Init
	ghosts  *people.Ghosts  // nil before Init
	// teller and troubles tell users what does not arrive.
	teller   *notices.Teller   // nil before Init
	troubles *notices.Troubles // nil before Init
	// restored notices a homeserver that was restored from an older copy.
	restored *restored.Checker // nil before Init
	// marks joins the read marks of the node with the receipts of Matrix.
	marks *readmarks.Marks // nil before Init
	// homeserver says whether it answers.
	homeserver  *homeserver.Monitor
	attachments *appservice.Attachments
	// loginNames is held while the name of a login changes, and while the library reads
	// it for a bridge state: it has no lock of its own.
	loginNames sync.Mutex
	// direct makes one request to the homeserver that is neither repeated nor counted.
	direct func(*http.Request) (*http.Response, error)
	// events shows the entries of event logs.
	events *show.Events // nil before Init
	// groupRooms, members, plans and ownChanges are for groups; nil before Init.
	groupRooms *groups.Rooms
	members    *groups.Members
	plans      *groups.Plans
	ownChanges *groups.Changes
}

// Deps is what a [Connector] uses.
type Deps struct {
	Node nodeapi.Node
	// Search finds messages, nil without an index.
	Search botcommands.Search
	// PublicMedia makes links to files that the homeserver does not take, nil for none.
	PublicMedia *publicmedia.Files
	// Version is that of the program.
	Version string
	Config  *config.Config
	Log     *slog.Logger
	// Library is the logger that bridgev2 gets.
	Library zerolog.Logger
	Matrix  library.Matrix
	Status  *library.StatusSender
	// Homeserver is whether the homeserver answers.
	Homeserver *homeserver.Monitor
	// Backlog is where deliveries note that many events wait.
	Backlog *homeserver.Backlog
	// Attachments has the files of the events that are being handled.
	Attachments *appservice.Attachments
	Retry       kernel.Backoff
	// Direct makes one request to the homeserver that is neither repeated nor counted.
	Direct func(*http.Request) (*http.Response, error)
}

// New returns a connector for bridgev2.NewBridge, which calls Init.
func New(deps Deps) *Connector {
	c := &Connector{
		node: deps.Node, search: deps.Search, publicMedia: deps.PublicMedia, version: deps.Version, config: deps.Config, log: deps.Log, library: deps.Library, matrix: deps.Matrix, status: deps.Status, retry: deps.Retry,
		homeserver: deps.Homeserver, attachments: deps.Attachments, direct: deps.Direct,
	}
	c.groups, _ = deps.Node.(nodeapi.GroupNode)
	c.conversations = nodeapi.New(deps.Node, c.groups)
	c.deliver = deliver.New(deliver.Deps{
		Node: deps.Node, Log: deps.Log, Retry: deps.Retry, Backlog: deps.Backlog,
		Show: func(ctx context.Context, at *deliver.Position, ev store.Event) error {
			return c.events.Show(ctx, at, ev)
		},
		ShowProfile: func(ctx context.Context, at *deliver.Position) error { return c.events.ShowProfile(ctx, at) },
		Beside:      c.watch,
	})
	return c
}

// Bridge returns the bridge of the library, nil before Init.
func (c *Connector) Bridge() *bridgev2.Bridge { return c.br }

// Deliverer returns what brings the event log into rooms. The caller runs it.
func (c *Connector) Deliverer() *deliver.Deliverer { return c.deliver }

// Deduper returns what takes back the second event of a message, nil before Init.
func (c *Connector) Deduper() *homeserver.Deduper { return c.deduper }

// Rooms returns what decides about events of rooms that are in no table, nil before Init.
func (c *Connector) Rooms() appservice.Rooms { return c.rooms }

// Relay returns what decides about people without a login, nil before Init.
func (c *Connector) Relay() appservice.Relay { return c.relay }

// RunBackground searches for rooms, for what a restored homeserver has lost, and tests
// the tokens of double puppets, until stop ends. A panic is returned as an error.
func (c *Connector) RunBackground(stop context.Context) error {
	group, stop := errgroup.WithContext(stop)
	for name, run := range map[string]func(context.Context) error{
		"lost rooms": c.rooms.Run, "restored homeserver": c.restored.Run, "double puppets": c.puppets.Run,
	} {
		group.Go(func() error { return fault.Guard(c.log, name, func() error { return run(stop) }) })
	}
	return group.Wait()
}

// HomeserverUp is called when the homeserver answers again.
func (c *Connector) HomeserverUp() {
	c.deliver.Kick()
	c.puppets.Wake()
	c.restored.Wake()
	c.marks.HomeserverUp()
}

// Waiting returns the conversations that wait for their room, see [notices.Troubles.Waiting].
func (c *Connector) Waiting() (logins, conversations int, list []deliver.Waiting) {
	return c.troubles.Waiting()
}

// RemakeRoom gives a conversation a new room, see [show.Events.RemakeRoom].
func (c *Connector) RemakeRoom(conversation store.Conversation, limit int) {
	c.events.RemakeRoom(conversation, limit)
}

// LoginsStarted is called when the logins are there.
func (c *Connector) LoginsStarted() { c.restored.Wake() }

// FindRoom returns the room that exists for a conversation or a Matrix space, "" for
// none. It is for the transport, see [homeserver.Deps].
func (c *Connector) FindRoom(ctx context.Context, key networkid.PortalKey) (id.RoomID, error) {
	return c.rooms.Existing(ctx, key)
}

// RoomCreated notes what a new room is for, so that the creation of others does not have
// to read its state. It is for the transport, see [homeserver.Deps].
func (c *Connector) RoomCreated(room id.RoomID, key networkid.PortalKey) { c.rooms.Note(room, key) }

// UserRegistered corrects the tables for a user who was registered again: they are in no
// room, and have no profile.
func (c *Connector) UserRegistered(ctx context.Context, user id.UserID) {
	if c.ghosts.Registered(ctx, user) {
		c.restored.Wake() // more is gone, then
	}
}

// SelfTest sends an event that the homeserver has to send back, see [rooms.Finder].
func (c *Connector) SelfTest(ctx context.Context) error { return c.rooms.SelfTest(ctx) }

// IsOurs tells the bot and the ghosts from other users.
func (c *Connector) IsOurs(user id.UserID) bool {
	return user == c.matrix.Bot().UserID || c.br.IsGhostMXID(user)
}

// RequestRefused is called with the status of every answer. It does not wait.
func (c *Connector) RequestRefused(req *http.Request, status int) { c.puppets.Refused(req, status) }

var (
	_ bridgev2.NetworkConnector            = (*Connector)(nil)
	_ bridgev2.IdentifierValidatingNetwork = (*Connector)(nil)
)

// Init is called by NewBridge, after the Init of the Matrix connector.
func (c *Connector) Init(br *bridgev2.Bridge) {
	c.br = br
	c.names = people.NewNames(br, c.config.AppService.Bot)
	c.ghosts = people.NewGhosts(people.GhostDeps{Bridge: br, Matrix: c.matrix, Log: c.log, Retry: c.retry, Account: c.node.Account})
	c.teller = notices.NewTeller(br, c.log, c.retry)
	c.troubles = notices.NewTroubles(notices.TroubleDeps{
		Bridge: br, Matrix: c.matrix, Node: c.node, Groups: c.groups, Conversations: c.conversations, Names: c.names, Ghosts: c.ghosts,
		Teller: c.teller, Log: c.log, Deliver: c.deliver, LastUp: c.homeserver.LastUp, Told: c.troublesTold,
	})
	c.puppets = people.NewPuppets(people.PuppetDeps{
		Bridge: br, Config: c.config, Bot: c.matrix.Bot().UserID, Log: c.log, Library: c.library, Direct: c.direct, Tell: c.teller.Retry,
	})
	c.deduper = homeserver.NewDeduper(br, c.matrix.Bot(), c.log, func(account identity.PublicKey, conversation store.ConversationID, target peer.GUID) ([]store.Reaction, error) {
		if c.conversations.InGroups(conversation) {
			return c.events.GroupReactions(conversation, target)
		}
		reactions, err := c.conversations.Reactions(account, conversation, target)
		if nodeapi.IsGone(err) {
			return nil, nil
		}
		for i := range reactions {
			reactions[i].Emoji = msgconv.CleanText(reactions[i].Emoji)
		}
		return reactions, err
	})
	c.rooms = rooms.New(rooms.Deps{
		Bridge: br, Matrix: c.matrix, Status: c.status, Log: c.log, Library: c.library, Permissions: c.config.Bridge.Permissions,
		Retry: c.retry, LastUp: c.homeserver.LastUp, Conversations: roomConversations{c},
	})
	c.relay = relay.New(relay.Deps{
		Bridge: br, Permissions: c.config.Bridge.Permissions, IsOurs: c.rooms.IsOurs, Say: c.rooms.Say, Tell: c.tellAboutRelay,
		Retry: c.retry, Log: c.log,
	})
	c.groupRooms = groups.New(groups.Deps{
		Bridge: br, Matrix: c.matrix, Node: c.groups, Conversations: c.conversations, Accounts: c.node, Names: c.names, Ghosts: c.ghosts, Bindings: c.relay, Log: c.log,
		Retry: c.retry, AccountOf: accountOf, Attached: c.deliver.Attached, IsOurs: c.IsOurs, PlaceLater: func(at store.Conversation) { c.events.PlaceLater(at) },
	})
	c.members = groups.NewMembers(c.groupRooms)
	c.plans = groups.NewPlans(br, c.groups)
	c.ownChanges = groups.NewChanges(br)
	c.restored = restored.New(restored.Deps{
		Bridge: br, Matrix: c.matrix, Log: c.log, Library: c.library, Retry: c.retry, Rooms: c.rooms, Conversations: lostMessages{c},
	})
	c.marks = c.newMarks()
	c.events = show.New(show.Deps{
		Bridge: br, Config: c.config, Matrix: c.matrix, Status: c.status, Log: c.log, Retry: c.retry,
		Node: c.node, Groups: c.groups, Conversations: c.conversations, Deliver: c.deliver, Deduper: c.deduper, Rooms: c.rooms, Relay: c.relay,
		Marks: c.marks, Names: c.names, Ghosts: c.ghosts, Teller: c.teller, PublicMedia: c.publicMedia, GroupRooms: c.groupRooms, Members: c.members, Plans: c.plans,
		Changes: c.ownChanges, IsOurs: c.IsOurs, Prepare: prepareGhost, Rename: c.renameLogin,
	})
	bot := botcommands.New(botcommands.Deps{
		Bridge: br, Config: c.config, Matrix: c.matrix, Log: c.log, Version: c.version, Node: c.node, Groups: c.groups,
		Conversations: c.conversations, Search: c.search, Deliver: c.deliver, Events: c.events, Rooms: c.rooms, Relay: c.relay, Names: c.names,
		Troubles: c.troubles, GroupRooms: c.groupRooms, Members: c.members, Plans: c.plans, State: c.connected,
	})
	br.Commands.(*commands.Processor).AddHandlers(append(bot.Handlers(), loginCommand())...)
}

// Start is called when the tables exist. The node runs already.
func (c *Connector) Start(ctx context.Context) error {
	if err := c.loadLogins(ctx); err != nil {
		return err
	}
	c.events.RestoreProfiles(ctx)
	return nil
}

// loadLogins loads the users and their logins before anything else asks for one: the library
// (mautrix v0.30.0) loads a login twice whose user is not loaded, and never ends one of them.
func (c *Connector) loadLogins(ctx context.Context) error {
	users, err := c.br.DB.UserLogin.GetAllUserIDsWithLogins(ctx)
	if err != nil {
		return fmt.Errorf("read the logins: %w", err)
	}
	for _, user := range users {
		if _, err := c.br.GetUserByMXID(ctx, user); err != nil {
			return fmt.Errorf("load a user: %w", err)
		}
	}
	return nil
}

// GetName names the network.
func (c *Connector) GetName() bridgev2.BridgeName {
	return bridgev2.BridgeName{
		DisplayName:          "Mimir",
		NetworkURL:           "https://mimir.im",
		NetworkID:            "mimir",
		BeeperBridgeType:     "mimir",
		DefaultPort:          29399,
		DefaultCommandPrefix: "!mimir",
	}
}

// GetDBMetaTypes returns no types: the connector stores nothing of its own in the tables
// of bridgev2.
func (c *Connector) GetDBMetaTypes() database.MetaTypes { return database.MetaTypes{} }

// GetCapabilities returns what the network as a whole can do.
func (c *Connector) GetCapabilities() *bridgev2.NetworkGeneralCapabilities {
	return &bridgev2.NetworkGeneralCapabilities{
		Provisioning: bridgev2.ProvisioningCapabilities{
			GroupCreation:     c.groupCreation(),
			ResolveIdentifier: bridgev2.ResolveIdentifierCapabilities{CreateDM: true, LookupUsername: true, ContactList: true, Search: true},
		},
	}
}

// GetBridgeInfoVersion returns numbers that are raised when the library has to send new
// state into all rooms.
func (c *Connector) GetBridgeInfoVersion() (info, capabilities int) { return 1, 1 }

// GetConfig returns no configuration: package config reads it.
func (c *Connector) GetConfig() (string, any, configupgrade.Upgrader) {
	return "", nil, configupgrade.NoopUpgrader
}

// LoadUserLogin gives a login its client.
func (c *Connector) LoadUserLogin(_ context.Context, login *bridgev2.UserLogin) error {
	account, err := mimirid.ParseLogin(login.ID)
	if err != nil {
		return err
	}
	login.Client = &client{Connector: c, login: login, account: account, own: c.ghosts.Own(account)}
	return nil
}

// ValidateUserID reports whether a user name can be that of a ghost.
func (c *Connector) ValidateUserID(user networkid.UserID) bool {
	key, err := mimirid.ParseUser(user)
	return err == nil && key.Validate() == nil
}

// watch runs beside the deliveries: it sends notices and sets profiles.
func (c *Connector) watch(stop, work context.Context) {
	var watchers sync.WaitGroup
	watchers.Go(func() {
		notices.WatchOutboxes(stop, work, notices.OutboxDeps{
			Bridge: c.br, Node: c.node, Groups: c.groups, Conversations: c.conversations, Names: c.names, Log: c.log,
			Config: c.config.Network, Retry: c.retry, Attached: c.deliver.Attached, Addressed: c.groupRooms.Addressed,
		})
	})
	watchers.Go(func() { c.troubles.Run(stop, work) })
	watchers.Go(func() { c.ghosts.Run(stop, work) })
	watchers.Go(func() { c.members.Run(stop, work) })
	watchers.Go(func() { c.marks.Run(stop, work) })
	watchers.Go(func() { c.relay.Run(stop, work) })
	watchers.Wait()
}
