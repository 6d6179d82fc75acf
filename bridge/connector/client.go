// SPDX-License-Identifier: MPL-2.0

package connector

import (
	"context"
	"sync/atomic"
	"time"

	"maunium.net/go/mautrix/bridgev2"
	"maunium.net/go/mautrix/bridgev2/networkid"
	"maunium.net/go/mautrix/bridgev2/status"

	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/bridge/botcrypto"
	"github.com/mimird/mimird/bridge/fault"
	"github.com/mimird/mimird/bridge/mimirid"
	"github.com/mimird/mimird/bridge/nodeapi"
	"github.com/mimird/mimird/bridge/people"
	"github.com/mimird/mimird/proto/identity"
)

// disconnectTimeout is how long a logout waits for the deliveries that run.
const disconnectTimeout = 3 * time.Second

// client is one login: the use of an account by a Matrix user.
type client struct {
	*Connector
	login   *bridgev2.UserLogin
	account identity.PublicKey
	gone    atomic.Bool // the account is not there any more
	// loggedOut is set when the login ends.
	loggedOut atomic.Bool
	// own is the ghost of the account.
	own *people.Own
}

var (
	_ bridgev2.NetworkAPI                        = (*client)(nil)
	_ bridgev2.NetworkAPIWithUserID              = (*client)(nil)
	_ bridgev2.IdentifierResolvingNetworkAPI     = (*client)(nil)
	_ bridgev2.ContactListingNetworkAPI          = (*client)(nil)
	_ bridgev2.GhostDMCreatingNetworkAPI         = (*client)(nil)
	_ bridgev2.EditHandlingNetworkAPI            = (*client)(nil)
	_ bridgev2.RedactionHandlingNetworkAPI       = (*client)(nil)
	_ bridgev2.ReactionHandlingNetworkAPI        = (*client)(nil)
	_ bridgev2.MessageRequestAcceptingNetworkAPI = (*client)(nil)
	_ bridgev2.MuteHandlingNetworkAPI            = (*client)(nil)
	_ bridgev2.UserSearchingNetworkAPI           = (*client)(nil)
)

// The bridge states of the connector.
const (
	stateAccountGone status.BridgeStateErrorCode = "mimir-account-gone"
	stateStoreFailed status.BridgeStateErrorCode = "mimir-store-failed"
	// stateUnreachable is set while the homeserver does not reach the bridge.
	stateUnreachable status.BridgeStateErrorCode = "mimir-deaf"
	// stateRoomWaits is in a bridge state while a conversation is in trouble.
	stateRoomWaits status.BridgeStateErrorCode = "mimir-room-waits"
	// stateNotEncrypted is the reason in a bridge state that rooms are not encrypted
	// although the configuration wants it.
	stateNotEncrypted = "mimir-not-encrypted"
)

// accountOf returns the account of a login, and false when the login has ended.
func accountOf(login *bridgev2.UserLogin) (account identity.PublicKey, ok bool) {
	cl, ok := login.Client.(*client)
	if !ok || cl.loggedOut.Load() {
		return account, false
	}
	return cl.account, true
}

// prepareGhost has the profile of the ghost of a login's account set.
func prepareGhost(ctx context.Context, login *bridgev2.UserLogin) {
	if cl, ok := login.Client.(*client); ok {
		cl.own.Prepare(ctx)
	}
}

// renameLogin gives a login the name of its account.
func (c *Connector) renameLogin(ctx context.Context, login *bridgev2.UserLogin, account store.Account) error {
	c.loginNames.Lock()
	defer c.loginNames.Unlock()
	name := people.LoginName(account)
	if login.RemoteName == name {
		return nil
	}
	login.RemoteName, login.RemoteProfile.Name = name, account.Name
	return login.Save(ctx)
}

// Connect begins to deliver. There is no connection to make: the node has them for as
// long as the account exists.
func (cl *client) Connect(context.Context) {
	_, err := cl.node.Account(cl.account)
	if err == nil {
		err = cl.deliver.Attach(cl.account, cl.login)
	}
	switch {
	case err == nil:
		cl.gone.Store(false)
		cl.marks.WantAll()
		cl.events.ForgetPlacements(cl.account)
		cl.members.WantAllOf(cl.account)
		cl.sendState(cl.login, cl.connected(cl.account))
	case nodeapi.IsGone(err):
		cl.gone.Store(true)
		cl.sendState(cl.login, status.BridgeState{
			StateEvent: status.StateBadCredentials, Error: stateAccountGone,
			Message: "This identity is not on the node any more.",
		})
	default:
		cl.log.Error("login not started", "account", cl.account.Short(), "err", err)
		cl.sendState(cl.login, status.BridgeState{
			StateEvent: status.StateUnknownError, Error: stateStoreFailed,
			Message: "The node cannot read its store.",
		})
	}
}

// Disconnect ends the deliveries.
func (cl *client) Disconnect() {
	ctx, cancel := context.WithTimeout(context.Background(), disconnectTimeout)
	defer cancel()
	cl.deliver.Detach(ctx, cl.account)
}

// IsLoggedIn reports whether the account exists.
func (cl *client) IsLoggedIn() bool { return !cl.gone.Load() }

// LogoutRemote ends the login. The account stays on the node.
func (cl *client) LogoutRemote(context.Context) {
	cl.loggedOut.Store(true)
	cl.Disconnect()
	cl.members.WantAllOf(cl.account) // our user leaves the rooms that others have, too
}

// IsThisUser reports whether a user is the login's own identity.
func (cl *client) IsThisUser(_ context.Context, user networkid.UserID) bool {
	return user == cl.GetUserID()
}

// GetUserID returns the login's own identity.
func (cl *client) GetUserID() networkid.UserID { return mimirid.User(cl.account) }

// connected is the bridge state of a login that works, as well as the homeserver allows.
func (c *Connector) connected(account identity.PublicKey) status.BridgeState {
	state := status.BridgeState{StateEvent: status.StateConnected}
	if rooms, text := c.troubles.OfAccount(account); rooms > 0 {
		// The library ignores a state that differs in its message alone.
		state.Error, state.Message, state.Info = stateRoomWaits, text, map[string]any{"rooms_waiting": rooms}
	} else if e := c.matrix.Encryption(); e.State == botcrypto.Unavailable {
		state.Reason, state.Message = stateNotEncrypted, e.Error
	}
	return state
}

// troublesTold sends the bridge state of a login after its user was told of rooms in trouble.
func (c *Connector) troublesTold(login *bridgev2.UserLogin) {
	if cl, ok := login.Client.(*client); ok && cl.IsLoggedIn() && login.BridgeState != nil {
		c.sendState(login, c.connected(cl.account))
	}
}

// sendState queues a bridge state of a login.
func (c *Connector) sendState(login *bridgev2.UserLogin, state status.BridgeState) {
	c.loginNames.Lock()
	defer c.loginNames.Unlock()
	login.BridgeState.Send(state)
}

// TellInbound tells all logins that the homeserver does not reach the bridge, or nil that
// it does again.
func (c *Connector) TellInbound(unreachable error) {
	for _, login := range c.br.GetAllCachedUserLogins() {
		cl, ok := login.Client.(*client)
		if !ok || !cl.IsLoggedIn() || login.BridgeState == nil {
			continue
		}
		state := c.connected(cl.account)
		if unreachable != nil {
			state = status.BridgeState{
				StateEvent: status.StateUnknownError, Error: stateUnreachable,
				Message: "What you write does not reach the bridge: " + fault.OneLine(unreachable) + ".",
			}
		}
		c.sendState(login, state)
	}
}
