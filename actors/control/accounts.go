// SPDX-License-Identifier: MPL-2.0

package control

import (
	"context"
	"encoding/hex"

	"github.com/danielgtaylor/huma/v2"

	"github.com/mimird/mimird/actors/node"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/identity"
)

// The part of the API that is about accounts. A secret key goes over the socket in
// two answers and one question, none of which is logged; only the node's own user
// can open it.

// Import is an identity to be imported.
type Import struct {
	PEM    string `json:"pem" maxLength:"4096" doc:"The secret key, a PKCS#8 PEM block"`
	Name   string `json:"name" minLength:"1" maxLength:"256"`
	Info   string `json:"info,omitempty" maxLength:"4096"`
	Avatar []byte `json:"avatar,omitempty" doc:"An image file, base64"`
	Role   string `json:"role,omitempty" enum:"primary,backup,mirror"`
}

// Imported is an account that was imported.
type Imported struct {
	Account Account `json:"account"`
	// ForeignNodes are the node keys of other devices of the identity. It is null when no
	// tracker could be asked.
	ForeignNodes []string `json:"elsewhere"`
}

// Secret is the secret key of an account, with those of its groups.
type Secret struct {
	ID     string        `json:"id"`
	PEM    string        `json:"pem" doc:"PKCS#8"`
	Groups []GroupSecret `json:"groups,omitempty" doc:"The groups that can be read"`
}

// GroupSecret is what a device needs to go on with a group where the node is.
type GroupSecret struct {
	Group string `json:"group" doc:"Its id on this node"`
	Key   string `json:"key" doc:"The key of the group, 64 hex digits"`
	Last  int64  `json:"last" doc:"Number of the last message of its mediator up to which the node has them all"`
}

// AccountChange is what is changed of an account; what is left out stays.
type AccountChange struct {
	Name          *string `json:"name,omitempty" minLength:"1" maxLength:"256"`
	Info          *string `json:"info,omitempty" maxLength:"4096"`
	Avatar        []byte  `json:"avatar,omitempty" doc:"An image file of at most 50 KiB, base64"`
	NoAvatar      bool    `json:"no_avatar,omitempty" doc:"Remove the picture"`
	Strangers     *string `json:"strangers,omitempty" enum:"ask,accept,refuse"`
	Role          *string `json:"role,omitempty" enum:"primary,backup,mirror"`
	ForwardTo     *string `json:"hand_over,omitempty" doc:"The account that forwards what this one receives; empty for none"`
	ForwardGroups *bool   `json:"hand_over_groups,omitempty" doc:"Forward what groups say, too"`
	// Greeting turns the answering machine on, NoGreeting off.
	Greeting   []byte `json:"greeting,omitempty" doc:"The file that the answering machine plays, AAC-LC of 44,100 Hz and one channel as .aac or .m4a, base64"`
	NoGreeting bool   `json:"no_greeting,omitempty" doc:"Turn the answering machine off"`
}

func (s *service) registerAccounts(api huma.API) {
	huma.Get(api, "/v1/accounts", s.accounts)
	huma.Post(api, "/v1/accounts", s.createAccount)
	huma.Post(api, "/v1/accounts/import", s.importAccount)
	huma.Patch(api, "/v1/accounts/{account}", s.changeAccount)
	huma.Delete(api, "/v1/accounts/{account}", s.removeAccount)
	huma.Post(api, "/v1/accounts/{account}/export", s.exportAccount)
}

func (s *service) accounts(context.Context, *struct{}) (*body[[]Account], error) {
	all, err := s.node.Accounts()
	if err != nil {
		return nil, problem(err)
	}
	out := []Account{}
	for _, a := range all {
		view, err := accountOf(s.node, a)
		if err != nil {
			return nil, problem(err)
		}
		out = append(out, view)
	}
	return &body[[]Account]{out}, nil
}

// accountAnswer makes the answer of an account as it is.
func (s *service) accountAnswer(a store.Account, err error) (*body[Account], error) {
	if err != nil {
		return nil, problem(err)
	}
	view, err := accountOf(s.node, a)
	return &body[Account]{view}, problem(err)
}

func (s *service) createAccount(ctx context.Context, in *struct {
	Body struct {
		Name string `json:"name" minLength:"1" maxLength:"64"`
	}
},
) (*body[Account], error) {
	return s.accountAnswer(s.node.CreateAccount(ctx, in.Body.Name))
}

func (s *service) importAccount(ctx context.Context, in *struct{ Body Import }) (*body[Imported], error) {
	key, err := identity.ParsePEM([]byte(in.Body.PEM))
	if err != nil {
		return nil, huma.Error422UnprocessableEntity(err.Error())
	}
	var role store.Role
	if in.Body.Role != "" {
		if err := role.UnmarshalText([]byte(in.Body.Role)); err != nil {
			return nil, problem(err)
		}
	}
	done, err := s.node.ImportAccount(ctx, node.Import{
		Key: key, Name: in.Body.Name, Info: in.Body.Info, Avatar: in.Body.Avatar, Role: role,
	})
	if err != nil {
		return nil, problem(err)
	}
	view, err := accountOf(s.node, done.Account)
	if err != nil {
		return nil, problem(err)
	}
	out := Imported{Account: view}
	if done.Asked {
		out.ForeignNodes = []string{}
	}
	for _, a := range done.ForeignNodes {
		out.ForeignNodes = append(out.ForeignNodes, a.Node.String())
	}
	return &body[Imported]{out}, nil
}

func (s *service) exportAccount(_ context.Context, in *AccountPath) (*body[Secret], error) {
	account, err := s.account(in.Account)
	if err != nil {
		return nil, err
	}
	pem, err := s.node.ExportAccount(account)
	if err != nil {
		return nil, problem(err)
	}
	out := Secret{ID: account.String(), PEM: string(pem)}
	groups, err := s.node.Groups(account)
	if err != nil {
		return nil, problem(err)
	}
	for _, g := range groups {
		if g.Key.IsZero() || g.Chat == 0 {
			continue
		}
		last, _, err := s.node.GroupPosition(account, g.ID)
		if err != nil {
			return nil, problem(err)
		}
		out.Groups = append(out.Groups, GroupSecret{Group: g.ID.String(), Key: hex.EncodeToString(g.Key[:]), Last: last})
	}
	return &body[Secret]{out}, nil
}

func (s *service) removeAccount(ctx context.Context, in *struct {
	AccountPath
	DeleteKey bool `query:"delete_key" doc:"Delete the key file too; without a copy nobody can be that identity again"`
},
) (*struct{}, error) {
	account, err := s.account(in.Account)
	if err != nil {
		return nil, err
	}
	return nil, problem(s.node.RemoveAccount(ctx, account, in.DeleteKey))
}

func (s *service) changeAccount(ctx context.Context, in *struct {
	AccountPath
	Body AccountChange
},
) (*body[Account], error) {
	account, err := s.account(in.Account)
	if err != nil {
		return nil, err
	}
	change := in.Body
	if change.Name != nil || change.Info != nil || len(change.Avatar) > 0 || change.NoAvatar {
		profile := node.ProfileChange{Name: change.Name, Info: change.Info}
		if len(change.Avatar) > 0 || change.NoAvatar {
			profile.Avatar = &change.Avatar
		}
		if _, err := s.node.UpdateProfile(ctx, account, profile); err != nil {
			return nil, problem(err)
		}
	}
	if change.Strangers != nil {
		var policy store.StrangerPolicy
		if err := policy.UnmarshalText([]byte(*change.Strangers)); err != nil {
			return nil, problem(err)
		}
		if _, err := s.node.SetStrangers(ctx, account, policy); err != nil {
			return nil, problem(err)
		}
	}
	if change.Role != nil {
		var role store.Role
		if err := role.UnmarshalText([]byte(*change.Role)); err != nil {
			return nil, problem(err)
		}
		if _, err := s.node.SetRole(ctx, account, role); err != nil {
			return nil, problem(err)
		}
	}
	if change.ForwardTo != nil {
		var home identity.PublicKey
		if *change.ForwardTo != "" {
			if home, err = s.account(*change.ForwardTo); err != nil {
				return nil, err
			}
		}
		if _, err := s.node.SetForwardTo(ctx, account, home); err != nil {
			return nil, problem(err)
		}
	}
	if change.ForwardGroups != nil {
		if _, err := s.node.SetForwardGroups(ctx, account, *change.ForwardGroups); err != nil {
			return nil, problem(err)
		}
	}
	if len(change.Greeting) > 0 || change.NoGreeting {
		if _, err := s.node.SetGreeting(ctx, account, change.Greeting); err != nil {
			return nil, problem(err)
		}
	}
	return s.accountAnswer(s.node.Account(account))
}
