// SPDX-License-Identifier: MPL-2.0

package node

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/mimird/mimird/actors/answering"
	"github.com/mimird/mimird/actors/forward"
	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/actors/keyring"
	"github.com/mimird/mimird/actors/resolver"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/wire"
)

const (
	// appClientID is the client id of every app. A tracker keeps one record per
	// client id, so a node with the same one would push a phone out.
	appClientID = 1
	// foreignLookupTime is how long trackers are asked who else uses an imported key.
	foreignLookupTime = 10 * time.Second
)

// Accounts returns the identities of this node.
func (n *Node) Accounts() ([]store.Account, error) { return n.store.Accounts() }

// Account returns one identity of this node, or [ErrUnknownAccount].
func (n *Node) Account(id identity.PublicKey) (store.Account, error) {
	a, err := n.store.Account(id)
	return a, known(err, keyring.ErrUnknownAccount)
}

// CreateAccount makes a new identity with that name. Its secret key is in a file
// of its own below keys/ when this returns.
func (n *Node) CreateAccount(ctx context.Context, name string) (store.Account, error) {
	id, err := n.keys.Create()
	if err != nil {
		return store.Account{}, err
	}
	return n.addAccount(ctx, store.Account{ID: id, Name: name})
}

// Import is an identity that exists already.
type Import struct {
	Key identity.PrivateKey
	// Name, Info and Avatar are its profile. An avatar that apps would not show is
	// left out.
	Name, Info string
	Avatar     []byte
	Role       store.Role
}

// Imported is an account that was imported.
type Imported struct {
	Account store.Account
	// ForeignNodes are other nodes where trackers say that the identity is at this
	// moment: a phone, most likely, see docs/roles.md. Asked is false when no tracker
	// could be asked.
	ForeignNodes []store.Address
	Asked        bool
}

// ImportAccount makes an account of an identity that exists already, such as one
// of [Node.ExportAccount] or of an app. It asks trackers first whether somebody
// else uses the key, for at most 10 s, and goes on whatever they say. An account of
// this node whose key file is lost gets its key back, and stays as it is.
//
// Errors: [ErrAccountExists] when this node has it already.
func (n *Node) ImportAccount(ctx context.Context, in Import) (Imported, error) {
	if in.Key.IsZero() {
		return Imported{}, fmt.Errorf("import account: no key: %w", store.ErrInvalid)
	}
	id := in.Key.Public()
	if there, err := n.Account(id); !errors.Is(err, keyring.ErrUnknownAccount) {
		if _, lost := n.keys.Read(id); err == nil && errors.Is(lost, fs.ErrNotExist) {
			// Its actor tries again by itself.
			if err := n.keys.Put(in.Key); err != nil {
				return Imported{}, fmt.Errorf("import account: %w", err)
			}
			return Imported{Account: there}, nil
		}
		if err == nil {
			err = fmt.Errorf("%s: %w", id.Short(), ErrAccountExists)
		}
		return Imported{}, fmt.Errorf("import account: %w", err)
	}
	if CheckAvatar(in.Avatar) != nil {
		in.Avatar = nil
	}
	var out Imported
	out.ForeignNodes, out.Asked = n.foreignNodes(ctx, id)
	if err := n.keys.Put(in.Key); err != nil {
		return Imported{}, fmt.Errorf("import account: %w", err)
	}
	var err error
	out.Account, err = n.addAccount(ctx, store.Account{
		ID: id, Name: in.Name, Info: wire.CutText(in.Info, wire.MaxInfo), Avatar: in.Avatar, Role: in.Role,
	})
	return out, err
}

// foreignNodes asks trackers at which other nodes an identity is.
func (n *Node) foreignNodes(ctx context.Context, id identity.PublicKey) (found []store.Address, asked bool) {
	if n.resolver.IsZero() {
		return nil, false
	}
	ctx, cancel := context.WithTimeout(ctx, foreignLookupTime)
	defer cancel()
	answer, err := kernel.Ask[resolver.Addresses](ctx, n.resolver, resolver.Lookup{Identity: id, Fresh: true})
	if err != nil || answer.Err != nil && !errors.Is(answer.Err, resolver.ErrNotFound) {
		return nil, false
	}
	for _, a := range answer.Found {
		if a.Node != n.Key() {
			found = append(found, a)
		}
	}
	return found, true
}

// addAccount stores an account whose key is in its file, and starts it.
func (n *Node) addAccount(ctx context.Context, a store.Account) (store.Account, error) {
	var err error
	if a.ClientID, err = newClientID(); err != nil {
		return store.Account{}, err
	}
	a.Name = wire.CutText(a.Name, wire.MaxNickname)
	a.Created = n.nowMillis()
	a.ProfileTime = a.Created
	a.Priority = priorityOf(a.Role)
	if _, err := do[bool](ctx, n, store.PutAccount{Account: a}); err != nil {
		return store.Account{}, fmt.Errorf("create account: %w", err)
	}
	n.tell(accountsChanged{})
	return a, nil
}

// newClientID draws what tells this device from others of the same identity.
func newClientID() (uint32, error) {
	for {
		var b [4]byte
		if _, err := rand.Read(b[:]); err != nil {
			return 0, fmt.Errorf("draw a client id: %w", err)
		}
		if id := binary.BigEndian.Uint32(b[:]) >> 1; id > appClientID { // a positive i32 on the wire
			return id, nil
		}
	}
}

// ExportAccount returns the secret key of an account, as a PKCS#8 PEM block. Who
// has it is that account: it is for a safe place, and for [Node.ImportAccount].
func (n *Node) ExportAccount(account identity.PublicKey) ([]byte, error) {
	if _, err := n.Account(account); err != nil {
		return nil, err
	}
	key, err := n.keys.Read(account)
	if err != nil {
		return nil, fmt.Errorf("export account: %w", err)
	}
	return key.MarshalPEM(), nil
}

// RemoveAccount removes an account with its contacts, its messages and its event
// log; consumers find that the account is gone. Undelivered messages are lost.
//
// The key file stays, with the ending .removed, and can be imported again; with
// deleteKey it is deleted too, and nobody can be that identity any more unless
// there is a copy elsewhere.
func (n *Node) RemoveAccount(ctx context.Context, account identity.PublicKey, deleteKey bool) error {
	if _, err := n.Account(account); err != nil {
		return err
	}
	all, err := n.Accounts()
	if err != nil {
		return err
	}
	for _, a := range all {
		if a.ForwardTo == account {
			if _, err := n.SetForwardTo(ctx, a.ID, identity.PublicKey{}); err != nil {
				return err
			}
		}
	}
	// Its actors end first: they would take the missing rows for damage.
	if !n.root.IsZero() {
		defer n.tell(reopenAccounts{account}) // whatever comes of it
		if _, err := kernel.Ask[accountClosed](ctx, n.root, closeAccount{account}); err != nil {
			return fmt.Errorf("remove account: %w", err)
		}
	}
	if _, err := do[bool](ctx, n, store.RemoveAccount{Account: account}); err != nil {
		return fmt.Errorf("remove account: %w", err)
	}
	n.contactNodes.ForgetAccount(account)
	if err := n.keys.Remove(account, deleteKey); err != nil {
		return fmt.Errorf("remove account: its messages are gone, its key file is still there: %w", err)
	}
	return nil
}

// ProfileChange is what people see of an account; nil leaves a part as it is.
type ProfileChange struct {
	Name, Info *string
	// Avatar is an image file, see [CheckAvatar]; an empty one removes it.
	Avatar *[]byte
}

// UpdateProfile changes what people see of an account. Contacts who are connected
// are told at once, all others with their next session.
//
// Errors: [ErrUnknownAccount], [ErrAvatar], store.ErrInvalid for a text that is
// longer than apps show.
func (n *Node) UpdateProfile(ctx context.Context, account identity.PublicKey, change ProfileChange) (store.Account, error) {
	op := store.UpdateAccount{Account: account}
	if change.Name != nil {
		op.Fields, op.Name = op.Fields|store.AccountName, *change.Name
		if len(op.Name) > wire.MaxNickname {
			return store.Account{}, fmt.Errorf("a name has at most %d bytes: %w", wire.MaxNickname, store.ErrInvalid)
		}
	}
	if change.Info != nil {
		op.Fields, op.Info = op.Fields|store.AccountInfo, *change.Info
		if len(op.Info) > wire.MaxInfo {
			return store.Account{}, fmt.Errorf("an info text has at most %d bytes: %w", wire.MaxInfo, store.ErrInvalid)
		}
	}
	if change.Avatar != nil {
		op.Fields, op.Avatar = op.Fields|store.AccountAvatar, *change.Avatar
		if err := CheckAvatar(op.Avatar); err != nil {
			return store.Account{}, err
		}
	}
	return n.updateAccount(ctx, op)
}

// SetStrangers says what happens when an unknown identity connects.
func (n *Node) SetStrangers(ctx context.Context, account identity.PublicKey, policy store.StrangerPolicy) (store.Account, error) {
	if policy > store.StrangersRefuse {
		return store.Account{}, fmt.Errorf("policy for strangers %d: %w", policy, store.ErrInvalid)
	}
	return n.updateAccount(ctx, store.UpdateAccount{Account: account, Fields: store.AccountStrangers, Strangers: policy})
}

// SetRole says which part this node plays for an account that a phone has too;
// docs/roles.md has what follows. Trackers are told at once; senders that remember
// the old order go by it for up to 15 minutes.
func (n *Node) SetRole(ctx context.Context, account identity.PublicKey, role store.Role) (store.Account, error) {
	if role > store.RoleMirror {
		return store.Account{}, fmt.Errorf("role %d: %w", role, store.ErrInvalid)
	}
	return n.updateAccount(ctx, store.UpdateAccount{
		Account: account, Fields: store.AccountRole, Role: role, Priority: priorityOf(role),
	})
}

// SetGreeting turns the answering machine of an account on: it plays the greeting to
// contacts who call. An empty file turns it off. It answers in the role primary only.
//
// Errors: [ErrUnknownAccount], [ErrGreeting], [ErrAnsweringRole].
func (n *Node) SetGreeting(ctx context.Context, id identity.PublicKey, file []byte) (store.Account, error) {
	op := store.SetGreeting{Account: id}
	if len(file) > 0 {
		a, err := n.Account(id)
		if err != nil {
			return a, err
		}
		if a.Role != store.RolePrimary {
			return a, ErrAnsweringRole
		}
		greeting, err := answering.Check(file)
		if err != nil {
			return a, err
		}
		op.Greeting, op.Length = greeting.Audio, store.Millis(max(1, greeting.Length.Milliseconds()))
	}
	if _, err := do[bool](ctx, n, op); err != nil {
		return store.Account{}, fmt.Errorf("set greeting: %w", known(err, keyring.ErrUnknownAccount))
	}
	return n.Account(id)
}

// SetForwardTo has another account of this node pass on to the phone what this one
// receives; the zero key ends that. See docs/roles.md.
//
// Errors: [ErrUnknownAccount] for either account, [ErrForwardTo] when it would go
// round in circles.
func (n *Node) SetForwardTo(ctx context.Context, id, home identity.PublicKey) (store.Account, error) {
	if !home.IsZero() {
		if err := n.checkForwardTo(id, home); err != nil {
			return store.Account{}, err
		}
	}
	before, err := n.Account(id)
	if err != nil {
		return before, err
	}
	// From now on: the past is on the phone, or would come as a flood.
	if before.ForwardTo.IsZero() && !home.IsZero() {
		if err := n.moveToEnd(ctx, forward.Consumer, id, store.ConversationID{}); err != nil {
			return before, err
		}
	}
	if before.ForwardTo != home && !home.IsZero() {
		if err := n.moveToEnd(ctx, forward.AnswerConsumer, home, store.ContactConversation(id)); err != nil {
			return before, err
		}
	}
	return n.updateAccount(ctx, store.UpdateAccount{Account: id, Fields: store.AccountForwardTo, ForwardTo: home})
}

// moveToEnd moves the cursor of a consumer to the end of the log, so that it begins with the
// next event.
func (n *Node) moveToEnd(ctx context.Context, consumer string, account identity.PublicKey, conversation store.ConversationID) error {
	last, err := n.LastEvent(account)
	if err != nil {
		return err
	}
	return n.MoveCursor(ctx, consumer, account, conversation, last)
}

// SetForwardGroups says whether what groups say is forwarded too. A phone that is in a group
// reads it itself; so this is for groups that the phone is not in.
//
// Errors: [ErrUnknownAccount].
func (n *Node) SetForwardGroups(ctx context.Context, id identity.PublicKey, on bool) (store.Account, error) {
	return n.updateAccount(ctx, store.UpdateAccount{Account: id, Fields: store.AccountForwardGroups, ForwardGroups: on})
}

// checkForwardTo keeps hand-overs from forming a chain, and so from going round:
// who passes on has nothing passed on, and the other way round.
func (n *Node) checkForwardTo(account, home identity.PublicKey) error {
	if account == home {
		return ErrForwardTo
	}
	all, err := n.Accounts()
	if err != nil {
		return err
	}
	found := false
	for _, a := range all {
		found = found || a.ID == home
		if a.ID == home && !a.ForwardTo.IsZero() || a.ForwardTo == account {
			return ErrForwardTo
		}
	}
	if !found {
		return keyring.ErrUnknownAccount
	}
	return nil
}

func (n *Node) updateAccount(ctx context.Context, op store.UpdateAccount) (store.Account, error) {
	if _, err := do[bool](ctx, n, op); err != nil {
		return store.Account{}, fmt.Errorf("change account: %w", known(err, keyring.ErrUnknownAccount))
	}
	return n.Account(op.Account)
}

// priorityOf is what trackers are told of a node in a role. Apps announce 1, and
// senders try the highest first.
func priorityOf(role store.Role) uint8 {
	if role == store.RolePrimary {
		return 2
	}
	return 0
}

// Link returns what an account gives to others so that they can add it.
func (n *Node) Link(a store.Account) identity.Link { return identity.Link{Key: a.ID, Name: a.Name} }
