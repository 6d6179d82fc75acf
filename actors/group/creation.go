// SPDX-License-Identifier: MPL-2.0

package group

import (
	"context"
	"slices"

	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/mediator"
)

// workSlice is how many signatures are tried before the progress is shown.
const workSlice = 2048

// creation is how far a group has come that does not exist yet.
//
//	chats   asks for the chats that we are in, and compares them with those of before
//	member  asks who is in a chat that is new: it may be this group
//	nonce   asks for the nonce of the proof of work
//	work    searches the proof
//	create  asks for the group
//	store   the store is about to have it
//
// When the connection is lost it begins anew. The chats of before are stored before the
// mediator is told to create the group: so a group whose answer was lost is found again, and
// not created twice.
type creation struct {
	stage creationStage
	chats []int64 // that we are in now
	// fresh are the chats that were not there before, which have not been looked at.
	fresh   []int64
	looked  int64 // the one that was asked for
	refused int   // nonces
	nonce   [32]byte
}

type creationStage uint8

const (
	creationChats creationStage = iota
	creationMember
	creationNonce
	creationWork
	creationCreate
	creationStore
)

// workDone ends the search for a proof of work.
type workDone struct {
	nonce     [32]byte
	counter   uint32
	signature identity.Signature
	found     bool
}

// lost begins anew.
func (n *creation) lost() { *n = creation{} }

// create asks the next question of a creation.
func (x *chat) create(c *kernel.Context) {
	stage := StageAnswer
	switch x.creation.stage {
	case creationChats:
		x.ask(c, askCreation, &mediator.GetUserChats{})
	case creationMember:
		x.creation.looked = x.creation.fresh[0]
		x.ask(c, askCreation, &mediator.GetMembers{Chat: mediator.ChatID(x.creation.looked)})
	case creationNonce:
		x.ask(c, askCreation, &mediator.GetNonce{Identity: x.account})
	case creationCreate, creationWork, creationStore:
		return // continues with workDone, or with the answer of the store
	}
	x.deps.Table.setProgress(x.conversation(), Progress{Stage: stage})
}

func (x *chat) onCreationAnswered(c *kernel.Context, a mediator.Answer, refused *mediator.ServerError) {
	if x.record.State != store.GroupCreating {
		return // removed
	}
	if refused != nil {
		x.onCreationRefused(c, refused)
		return
	}
	switch x.creation.stage {
	case creationChats:
		var chats mediator.Chats
		if err := a.Parse(&chats); err != nil {
			x.malformed(c, err)
			return
		}
		x.onChats(c, chats.Chats)
	case creationMember:
		var members mediator.Members
		if err := a.Parse(&members); err != nil {
			x.malformed(c, err)
			return
		}
		x.onCandidate(c, members.Members)
	case creationNonce:
		var nonce mediator.Nonce
		if err := a.Parse(&nonce); err != nil {
			x.malformed(c, err)
			return
		}
		x.startWork(c, nonce.Nonce)
	case creationCreate:
		var created mediator.Chat
		if err := a.Parse(&created); err != nil || created.Chat <= 0 {
			x.malformed(c, err)
			x.creation.lost()
			return
		}
		x.created(c, int64(created.Chat), mediator.PermissionOwner|mediator.PermissionUser)
	case creationWork, creationStore:
	}
}

func (x *chat) onCreationRefused(c *kernel.Context, refused *mediator.ServerError) {
	n := &x.creation
	switch {
	case n.stage == creationMember: // not ours
		x.onCandidate(c, nil)
	case n.stage == creationCreate && refused.NonceReplaced() && n.refused < maxTries:
		n.refused++
		n.stage = creationNonce
	case (isTransient(refused) || n.stage != creationCreate) && x.tries < maxTries:
		x.backOff(c)
		n.stage = creationChats
	default:
		x.setState(c, store.GroupFailed, 0, refusalReason(store.GroupTask{}, refused))
	}
}

// onChats compares the chats that we are in with those of before the first attempt.
func (x *chat) onChats(c *kernel.Context, chats []mediator.ChatID) {
	n := &x.creation
	n.chats, n.fresh = nil, nil
	for _, chat := range chats[:min(len(chats), maxChats)] {
		n.chats = append(n.chats, int64(chat))
		known, err := x.deps.Store.Group(x.account, store.GroupConversation(x.record.Mediator, uint64(chat))) //nolint:gosec // a name
		if x.record.Attempted && !slices.Contains(x.record.Known, int64(chat)) && (err != nil || known.Key.IsZero()) {
			n.fresh = append(n.fresh, int64(chat))
		}
	}
	x.nextCandidate(c)
}

// maxChats bounds the chats of an account that are remembered.
const maxChats = 10_000

// nextCandidate looks at the next chat that may be this group, or begins to create it.
func (x *chat) nextCandidate(c *kernel.Context) {
	n := &x.creation
	if len(n.fresh) > 0 {
		n.stage = creationMember
		return
	}
	n.stage = creationStore
	x.write(c, store.NoteCreation{Account: x.account, Group: x.id, Known: n.chats}, func(c *kernel.Context, msg store.Written) {
		if msg.Err != nil {
			x.storeRefused(c, msg.Err)
			n.stage = creationChats
			return
		}
		x.record.Attempted, x.record.Known = true, n.chats
		n.stage = creationNonce
	})
}

// onCandidate takes a chat for this group that has us as its owner and nobody else.
func (x *chat) onCandidate(c *kernel.Context, members []mediator.Member) {
	n := &x.creation
	n.fresh = n.fresh[1:]
	if len(members) == 1 && members[0].User == x.account && members[0].Permissions.HasAny(mediator.PermissionOwner) {
		x.created(c, n.looked, members[0].Permissions)
		return
	}
	x.nextCandidate(c)
}

// startWork searches the proof of work in a goroutine.
func (x *chat) startWork(c *kernel.Context, nonce [32]byte) {
	x.creation.stage, x.creation.nonce = creationWork, nonce
	key, table, at, inbox := x.key, x.deps.Table, x.conversation(), c.Inbox()
	table.setTried(at, 0)
	c.Go("proof of work", func(ctx context.Context) error {
		for first := uint32(0); ctx.Err() == nil; first += workSlice {
			counter, signature, found := key.SignChat(nonce, first, workSlice)
			table.setTried(at, first+workSlice)
			if found {
				inbox.Tell(workDone{nonce, counter, signature, true})
				return nil
			}
			if first > 1<<31 { // there is one in 65,000
				inbox.Tell(workDone{nonce: nonce})
				return nil
			}
		}
		return nil
	})
}

func (x *chat) onWorkDone(c *kernel.Context, msg workDone) {
	n := &x.creation
	if n.stage != creationWork || msg.nonce != n.nonce || x.record.State != store.GroupCreating {
		return
	}
	if !msg.found || x.link.IsZero() || x.question != askNothing {
		n.lost()
		x.next(c)
		return
	}
	n.stage = creationCreate
	x.ask(c, askCreation, &mediator.CreateChat{
		Owner: x.account, Nonce: msg.nonce, Counter: msg.counter, Signature: msg.signature,
		Name: x.record.Name, Description: x.record.Description, Avatar: x.record.Avatar,
	})
	x.deps.Table.setProgress(x.conversation(), Progress{Stage: StageAnswer, Tried: msg.counter})
}

// created stores that the group exists.
func (x *chat) created(c *kernel.Context, chat int64, permissions mediator.Permissions) {
	x.creation.stage = creationStore
	op := store.FinishCreation{Account: x.account, Group: x.id, Chat: uint64(chat), Permissions: store.Permissions(permissions)} //nolint:gosec // above 0
	x.write(c, op, func(c *kernel.Context, msg store.Written) {
		if msg.Err != nil {
			x.storeRefused(c, msg.Err)
			x.creation.lost()
			return
		}
		x.onLook(c)
	})
}
