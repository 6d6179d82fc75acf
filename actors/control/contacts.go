// SPDX-License-Identifier: MPL-2.0

package control

import (
	"context"
	"net/http"
	"reflect"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/mimird/mimird/actors/control/jsonlist"
	"github.com/mimird/mimird/actors/node"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/peer"
)

// The part of the API that is about contacts.

// NewContact is an identity to be added.
type NewContact struct {
	Link string `json:"link" doc:"Contact link, or the 64 hex digits of a key" maxLength:"4096"`
	// Ask sends a contact request with the text in Request.
	Ask     bool   `json:"ask,omitempty" doc:"Send a contact request"`
	Request string `json:"request,omitempty" maxLength:"4096" doc:"Its text"`
}

// ContactChange is what is changed of a contact; what is left out stays.
type ContactChange struct {
	Name  *string `json:"name,omitempty" maxLength:"256" doc:"Your own name for the contact; empty for the one they give themselves"`
	Muted *bool   `json:"muted,omitempty"`
}

// Reaction is a reaction to a message.
type Reaction struct {
	Message string `json:"message" doc:"Guid of the message, decimal"`
	Emoji   string `json:"emoji" maxLength:"128" doc:"Empty takes the reaction back"`
	// Direction says whose it is; it is not read.
	Direction string `json:"direction,omitempty" enum:"in,out"`
	Source    string `json:"source,omitempty" maxLength:"200" doc:"Makes the request safe to repeat"`
}

func (s *service) registerContacts(api huma.API) {
	const one = "/v1/accounts/{account}/contacts/{contact}"
	huma.Register(api, huma.Operation{
		OperationID: "list-contacts", Method: http.MethodGet, Path: "/v1/accounts/{account}/contacts", Summary: "List the contacts",
		Responses: map[string]*huma.Response{"200": {Description: "OK", Content: map[string]*huma.MediaType{
			"application/json": {Schema: api.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[[]Contact](), true, "Contacts")},
		}}},
	}, s.contacts)
	huma.Post(api, "/v1/accounts/{account}/contacts", s.addContact)
	huma.Get(api, one, func(ctx context.Context, in *ContactPath) (*body[Contact], error) {
		return s.change(in, node.NameContact, s.node.Contact)
	})
	huma.Patch(api, one, s.changeContact)
	huma.Delete(api, one, s.removeContact)
	for name, verb := range map[string]struct {
		purpose node.NamePurpose
		act     func(context.Context, identity.PublicKey, identity.PublicKey) (store.Contact, error)
	}{
		"accept":  {node.NameRequest, s.node.AcceptContact},
		"decline": {node.NameRequest, s.node.DeclineContact},
		"block":   {node.NameBlock, s.node.BlockContact},
		"unblock": {node.NameUnblock, s.node.UnblockContact},
	} {
		huma.Post(api, one+"/"+name, func(ctx context.Context, in *ContactPath) (*body[Contact], error) {
			return s.change(in, verb.purpose, func(account, contact identity.PublicKey) (store.Contact, error) {
				return verb.act(ctx, account, contact)
			})
		})
	}
	huma.Post(api, one+"/devices", s.trustDevice)
}

// change does something with the contact that a path names, and answers with what
// it is then.
func (s *service) change(in *ContactPath, purpose node.NamePurpose, do func(account, contact identity.PublicKey) (store.Contact, error)) (*body[Contact], error) {
	account, contact, err := s.contactFor(in, purpose)
	if err != nil {
		return nil, err
	}
	c, err := do(account, contact)
	if err != nil {
		return nil, problem(err)
	}
	return &body[Contact]{contactOf(s.node, c)}, nil
}

// contacts streams the contacts of an account, a page of the store at a time: thousands need
// no memory, and the first ones are out at once. One who comes or goes meanwhile is in the
// list or is not.
func (s *service) contacts(_ context.Context, in *AccountPath) (*huma.StreamResponse, error) {
	account, err := s.account(in.Account)
	if err != nil {
		return nil, err
	}
	found, err := s.node.ContactsAfter(account, identity.PublicKey{})
	if err != nil {
		return nil, problem(err)
	}
	return &huma.StreamResponse{Body: func(c huma.Context) {
		c.SetHeader("Content-Type", "application/json")
		_, w := humago.Unwrap(c)
		list := jsonlist.NewWriter(w, "")
		for len(found) > 0 && err == nil {
			for _, contact := range found {
				if err == nil {
					err = list.Add(contactOf(s.node, contact))
				}
			}
			if err == nil {
				_ = http.NewResponseController(w).Flush() // what cannot be flushed is written at the end
				found, err = s.node.ContactsAfter(account, found[len(found)-1].ID)
			}
		}
		if err == nil {
			err = list.Close()
		}
		if err != nil {
			s.log.Debug("list of contacts is incomplete", "account", account.Short(), "err", err)
			panic(http.ErrAbortHandler) // the client sees that
		}
	}}, nil
}

func (s *service) addContact(ctx context.Context, in *struct {
	AccountPath
	Body NewContact
},
) (*body[Contact], error) {
	account, err := s.account(in.Account)
	if err != nil {
		return nil, err
	}
	link, err := identity.ParseLink(in.Body.Link)
	if err != nil {
		return nil, huma.Error422UnprocessableEntity(err.Error())
	}
	var c store.Contact
	if in.Body.Ask {
		c, err = s.node.RequestContact(ctx, account, link, in.Body.Request)
	} else {
		c, err = s.node.AddContact(ctx, account, link)
	}
	if err != nil {
		return nil, problem(err)
	}
	return &body[Contact]{contactOf(s.node, c)}, nil
}

func (s *service) changeContact(ctx context.Context, in *struct {
	ContactPath
	Body ContactChange
},
) (*body[Contact], error) {
	return s.change(&in.ContactPath, node.NameContact, func(account, contact identity.PublicKey) (store.Contact, error) {
		if in.Body.Name != nil {
			if c, err := s.node.RenameContact(ctx, account, contact, *in.Body.Name); err != nil {
				return c, err
			}
		}
		if in.Body.Muted != nil {
			if c, err := s.node.MuteContact(ctx, account, contact, *in.Body.Muted); err != nil {
				return c, err
			}
		}
		return s.node.Contact(account, contact)
	})
}

func (s *service) removeContact(ctx context.Context, in *ContactPath) (*struct{}, error) {
	account, contact, err := s.contact(in)
	if err != nil {
		return nil, err
	}
	return nil, problem(s.node.RemoveContact(ctx, account, contact))
}

func parseGUID(text string) (peer.GUID, error) {
	guid, err := strconv.ParseInt(text, 10, 64)
	if err != nil || guid == 0 {
		return 0, huma.Error422UnprocessableEntity("message is not the guid of a message")
	}
	return peer.GUID(guid), nil
}

// HeldDevice is a device that authenticated as a contact and that nothing else
// speaks for.
type HeldDevice struct {
	Node    string    `json:"node" doc:"Node key"`
	Since   time.Time `json:"since"`
	Refused bool      `json:"refused,omitempty" doc:"It was looked at and turned away"`
}

// Device is one to be let in.
type Device struct {
	Node string `json:"node" doc:"Node key, 64 hex digits"`
}

func heldOf(n *node.Node, c store.Contact) []HeldDevice {
	var out []HeldDevice
	for _, h := range n.HeldDevices(c.Account, c.ID) {
		out = append(out, HeldDevice{Node: h.Node.String(), Since: h.Since, Refused: h.Refused})
	}
	return out
}

func (s *service) trustDevice(ctx context.Context, in *struct {
	ContactPath
	Body Device
},
) (*body[Contact], error) {
	device, err := identity.ParseNodeKey(in.Body.Node)
	if err != nil || device.IsZero() {
		return nil, huma.Error422UnprocessableEntity("a node key has 64 hex digits")
	}
	return s.change(&in.ContactPath, node.NameContact, func(account, contact identity.PublicKey) (store.Contact, error) {
		return s.node.TrustDevice(ctx, account, contact, device)
	})
}
