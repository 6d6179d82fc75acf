// SPDX-License-Identifier: MPL-2.0

package control

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"

	"github.com/mimird/mimird/actors/control/browsers"
	"github.com/mimird/mimird/actors/control/warnings"
	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/actors/node"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/peer"
	"github.com/mimird/mimird/proto/tracker"
)

type body[T any] struct{ Body T }

// AccountPath names an account: by key, by a unique name, or "-" for the only
// one. It is exported, as [ContactPath] is, because huma reads only exported parts
// of a request.
type AccountPath struct {
	Account string `path:"account" doc:"Identity key, name, or - for the only account"`
}

// ContactPath names a contact of an account: by key, the first digits of it, or a
// unique name.
type ContactPath struct {
	AccountPath
	Contact string `path:"contact" doc:"Identity key or name"`
}

func (s *service) register(api huma.API) {
	huma.Get(api, "/v1/status", s.status)
	huma.Post(api, "/v1/check", s.check)
	huma.Post(api, "/v1/backup", s.backup)
	s.registerAccounts(api)
	s.registerContacts(api)
	s.registerConversations(api)
	s.registerWatch(api)
	s.registerGroups(api)
	s.registerRetention(api)
	s.registerMediator(api)
	s.registerSearch(api)
	huma.Get(api, "/v1/accounts/{account}/messages/{message}", s.trace)
	s.registerFollow(api)
	browsers.Register(api, s.opts.Page)
}

func (s *service) status(ctx context.Context, _ *struct{}) (*body[Status], error) {
	state, err := s.node.Status(ctx)
	if err != nil {
		return nil, problem(err)
	}
	accounts, err := s.accounts(ctx, nil)
	if err != nil {
		return nil, err
	}
	out := Status{
		Version: s.opts.Version, Node: s.node.Key().String(), Overlay: overlayOf(state.Overlay, state.Running),
		Trackers: []Tracker{}, Sessions: state.Sessions, StrayReactions: state.StrayReactions, Accounts: accounts.Body, DiskLow: state.DiskLow,
		Warnings: warnings.Of(state), Parts: s.parts(ctx), Retention: s.node.Retention(), UnencodableEvents: s.unencodable.Load(),
		MissedInvites: state.MissedInvites,
	}
	if state.Overlay.IPv6.IsValid() {
		out.Address = state.Overlay.IPv6.String()
	}
	if out.Undelivered, err = s.undelivered(state); err != nil {
		return nil, err
	}
	for _, t := range state.Trackers {
		out.Trackers = append(out.Trackers, trackerOf(t))
	}
	for _, t := range state.TrackersV1 {
		out.OldTrackers = append(out.OldTrackers, oldTrackerOf(t))
	}
	for _, m := range state.Mediators {
		out.Mediators = append(out.Mediators, MediatorLink{
			Account: m.Account.String(), Mediator: m.Mediator.String(), Connected: m.Connected, Since: m.Since,
			Error: m.LastError, NextAttempt: m.NextAttempt, Groups: m.Groups,
		})
	}
	if state.Tracker != nil {
		out.Role = &TrackerRole{
			Address:   tracker.Address{Node: state.Tracker.Key, Port: tracker.Port}.String(),
			Listening: state.Tracker.Listening, Links: state.Tracker.Links(),
		}
	}
	if state.Files != nil {
		out.FilesRole = &FilesRole{Key: state.Files.Key.String(), Listening: state.Files.Listening, Links: state.Files.Links()}
	}
	if key, ok := s.node.MediatorKey(); ok && state.Mediator != nil {
		m := state.Mediator
		out.MediatorRole = &MediatorRole{
			Key: key.String(), Listening: m.Overlay.Listening, Links: m.Overlay.Links(), Groups: m.Totals.Groups, Messages: m.Totals.Messages, Bytes: m.Totals.Bytes,
			Invites: m.Totals.Invites, Clients: m.Connections.Clients, Identities: m.Connections.Identities, QueuedBytes: m.Connections.QueuedBytes,
		}
	}
	if !state.ServerOnly {
		used, quota := s.node.MediaUsage()
		out.Media = &MediaUsage{Used: used, Quota: quota}
	}
	return &body[Status]{out}, nil
}

// outgoingText makes a message of a request, without account and conversation.
func outgoingText(text Text, raw []byte) (node.Outgoing, error) {
	out := node.Outgoing{Type: peer.TypeText, Payload: []byte(text.Text)}
	if !utf8.Valid(raw) {
		return out, huma.Error422UnprocessableEntity("the request is not valid UTF-8") // decoding it has changed the text
	}
	if text.Source != "" {
		out.Source = "control:" + text.Source
	}
	if text.ReplyTo != "" {
		guid, err := strconv.ParseInt(text.ReplyTo, 10, 64)
		if err != nil {
			return out, huma.Error422UnprocessableEntity("reply_to is not the guid of a message")
		}
		out.ReplyTo = peer.GUID(guid)
	}
	return out, nil
}

// account finds an account by key, unique name, or as the only one.
func (s *service) account(name string) (identity.PublicKey, error) {
	all, err := s.node.Accounts()
	if err != nil {
		return identity.PublicKey{}, problem(err)
	}
	var found []identity.PublicKey
	var names []string
	for _, a := range all {
		names = append(names, a.Name)
		if name == "-" || strings.EqualFold(a.ID.String(), name) || a.Name == name {
			found = append(found, a.ID)
		}
	}
	switch {
	case len(found) == 1:
		return found[0], nil
	case len(found) == 0:
		return identity.PublicKey{}, huma.Error404NotFound("there is no such account on this node; " + accountsThere(names))
	case name == "-":
		return identity.PublicKey{}, huma.Error409Conflict("there are several accounts: " + listed(names) + "; say which one with --account NAME")
	}
	return identity.PublicKey{}, huma.Error409Conflict("several accounts have that name; give the key with --account KEY (mimird id shows it)")
}

// contact finds a contact by key, link or unique name.
func (s *service) contact(in *ContactPath) (account, contact identity.PublicKey, err error) {
	return s.contactFor(in, node.NameContact)
}

// contactFor finds a contact for what is going to be done with it.
func (s *service) contactFor(in *ContactPath, purpose node.NamePurpose) (account, contact identity.PublicKey, err error) {
	if account, err = s.account(in.Account); err != nil {
		return account, contact, err
	}
	if link, err := identity.ParseLink(in.Contact); err == nil {
		return account, link.Key, nil
	}
	named, err := s.node.ContactsNamed(account, in.Contact, store.Folding{})
	if err != nil {
		return account, contact, problem(err)
	}
	contact, err = node.FindContact(named, in.Contact, purpose, nil)
	switch {
	case errors.Is(err, node.ErrAmbiguousName):
		return account, contact, huma.Error409Conflict("several contacts have that name, or had it before; give the key, or a name of your own with mimird contact rename")
	case err != nil:
		return account, contact, huma.Error404NotFound("there is no such contact; mimird contact list shows them, mimird contact add LINK makes one")
	}
	return account, contact, nil
}

// sentence is the text of an error without its kind at the end, which the status says.
func sentence(err, kind error) string { return strings.TrimSuffix(err.Error(), ": "+kind.Error()) }

// problem makes an answer of an error: what the caller can correct is passed on as it
// is.
func problem(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, node.ErrUnknownAccount), errors.Is(err, node.ErrUnknownContact), errors.Is(err, node.ErrUnknownGroup), errors.Is(err, store.ErrNotFound):
		return huma.Error404NotFound(err.Error())
	case errors.Is(err, node.ErrOwnKey):
		return huma.Error422UnprocessableEntity(err.Error() + "; give the link of another identity")
	case errors.Is(err, node.ErrBlocked):
		return huma.Error422UnprocessableEntity(err.Error() + "; mimird contact unblock undoes that")
	case errors.Is(err, node.ErrNoMediator):
		return huma.Error409Conflict(err.Error() + "; see roles in the configuration, and mimird status")
	case errors.Is(err, node.ErrSourceUsed):
		return huma.Error409Conflict(err.Error() + "; give each conversation a source of its own")
	case errors.Is(err, node.ErrAccountExists):
		return huma.Error409Conflict(err.Error())
	case errors.Is(err, node.ErrAvatar), errors.Is(err, node.ErrForwardTo), errors.Is(err, node.ErrAnsweringRole):
		return huma.Error422UnprocessableEntity(err.Error())
	case errors.Is(err, node.ErrGreeting):
		return huma.Error422UnprocessableEntity(err.Error() + "; ffmpeg -i FILE -ac 1 -ar 44100 -c:a aac -b:a 48k greeting.m4a makes one")
	case errors.Is(err, store.ErrInvalid), errors.Is(err, identity.ErrInvalidKey):
		return huma.Error422UnprocessableEntity(sentence(err, store.ErrInvalid))
	case errors.Is(err, store.ErrOutboxFull):
		return huma.Error429TooManyRequests(err.Error())
	case errors.Is(err, store.ErrDiskFull), errors.Is(err, store.ErrBusy), errors.Is(err, node.ErrNotRunning):
		return huma.Error503ServiceUnavailable(err.Error())
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded), errors.Is(err, kernel.ErrStopped):
		return huma.Error503ServiceUnavailable("the node is stopping or busy, and did not answer; the same request with the same source is safe to repeat")
	}
	if errors.Is(err, store.ErrCorrupt) {
		return &huma.ErrorModel{Type: DamagedType, Title: "Internal Server Error", Status: http.StatusInternalServerError, Detail: err.Error()}
	}
	return huma.Error500InternalServerError(err.Error())
}
