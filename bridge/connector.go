// SPDX-License-Identifier: MPL-2.0

package bridge

import (
	"context"
	"log/slog"
	"sync"

	"go.mau.fi/util/configupgrade"
	"maunium.net/go/mautrix/bridgev2"
	"maunium.net/go/mautrix/bridgev2/commands"
	"maunium.net/go/mautrix/bridgev2/database"
	"maunium.net/go/mautrix/bridgev2/networkid"

	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/bridge/appservice"
	"github.com/mimird/mimird/bridge/config"
	"github.com/mimird/mimird/bridge/deliver"
	"github.com/mimird/mimird/bridge/homeserver"
	"github.com/mimird/mimird/bridge/library"
	"github.com/mimird/mimird/bridge/mimirid"
	"github.com/mimird/mimird/bridge/msgconv"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/peer"
)

// connector is Mimir as bridgev2 sees it. There is a new one for every start of
// the bridge.
type connector struct {
	node    Node
	config  *config.Config
	log     *slog.Logger
	br      *bridgev2.Bridge
	matrix  library.Matrix
	status  *library.StatusSender
	deliver *deliver.Deliverer
	// retry is the back-off of what is retried in goroutines of the connector.
	retry kernel.Backoff
	// backlog is where deliveries note that many events wait.
	backlog *homeserver.Backlog
	copies  *homeserver.Deduper
	lost    *lostRooms
	// restored notices a homeserver that was restored from an older copy.
	restored *restored
	// homeserver is whether it answers, in whatever incarnation.
	homeserver *homeserver.Monitor
	fetched    *appservice.Attachments
	// loginNames is held while the name of a login changes, and while the library reads
	// it for a bridge state: it has no lock of its own.
	loginNames sync.Mutex
	// missedGhosts are ghosts that were registered again and whose copy in memory says
	// otherwise: from networkid.UserID to whether the name is set.
	missedGhosts sync.Map
	// profiles has the logins whose profile is to be set.
	profiles chan *client
}

var (
	_ bridgev2.NetworkConnector            = (*connector)(nil)
	_ bridgev2.IdentifierValidatingNetwork = (*connector)(nil)
)

// Init is called by NewBridge.
func (c *connector) Init(br *bridgev2.Bridge) {
	c.br = br
	c.copies = homeserver.NewDeduper(br, c.matrix.Bot(), c.log, func(account, contact identity.PublicKey, target peer.GUID) ([]store.Reaction, error) {
		reactions, err := c.node.Reactions(account, contact, target)
		if isGone(err) {
			return nil, nil
		}
		for i := range reactions {
			reactions[i].Emoji = msgconv.CleanText(reactions[i].Emoji)
		}
		return reactions, err
	})
	br.Commands.(*commands.Processor).AddHandlers(c.commandList()...)
}

// Start is called when the tables are there. The node runs already.
func (c *connector) Start(ctx context.Context) error {
	c.keepProfiles(ctx)
	return nil
}

// GetName names the network.
func (c *connector) GetName() bridgev2.BridgeName {
	return bridgev2.BridgeName{
		DisplayName:          "Mimir",
		NetworkURL:           "https://mimir.im",
		NetworkID:            "mimir",
		BeeperBridgeType:     "mimir",
		DefaultPort:          29399,
		DefaultCommandPrefix: "!mimir",
	}
}

// GetDBMetaTypes says that we keep nothing of our own in bridgev2's tables.
func (c *connector) GetDBMetaTypes() database.MetaTypes { return database.MetaTypes{} }

// GetCapabilities says what the network as a whole can do.
func (c *connector) GetCapabilities() *bridgev2.NetworkGeneralCapabilities {
	return &bridgev2.NetworkGeneralCapabilities{
		Provisioning: bridgev2.ProvisioningCapabilities{
			ResolveIdentifier: bridgev2.ResolveIdentifierCapabilities{CreateDM: true, LookupUsername: true, ContactList: true, Search: true},
		},
	}
}

// GetBridgeInfoVersion is raised when rooms have to be told something new.
func (c *connector) GetBridgeInfoVersion() (info, capabilities int) { return 1, 1 }

// GetConfig says that the configuration is ours alone.
func (c *connector) GetConfig() (string, any, configupgrade.Upgrader) {
	return "", nil, configupgrade.NoopUpgrader
}

// LoadUserLogin makes the client of a login.
func (c *connector) LoadUserLogin(_ context.Context, login *bridgev2.UserLogin) error {
	account, err := mimirid.ParseLogin(login.ID)
	if err != nil {
		return err
	}
	login.Client = &client{connector: c, login: login, account: account}
	return nil
}

// ValidateUserID tells the user names that can be a ghost's.
func (c *connector) ValidateUserID(id networkid.UserID) bool {
	key, err := mimirid.ParseUser(id)
	return err == nil && key.Validate() == nil
}

// watch runs beside the deliveries.
func (c *connector) watch(stop, work context.Context) {
	var watchers sync.WaitGroup
	watchers.Go(func() { c.watchOutboxes(stop, work) })
	watchers.Go(func() { c.watchTroubles(stop, work) })
	watchers.Go(func() { c.setProfiles(stop, work) })
	watchers.Wait()
}
