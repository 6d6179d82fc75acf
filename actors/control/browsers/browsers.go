// SPDX-License-Identifier: MPL-2.0

// Package browsers is the part of the control API that is about the page for browsers: how
// to get in, and who is in. Package page implements [Page], package control calls [Register].
package browsers

import (
	"context"
	"errors"
	"time"

	"github.com/danielgtaylor/huma/v2"
)

// Page is what the page for browsers lets the API do. Its errors are sentences for people.
type Page interface {
	// Address is where browsers reach the page, "" while it is not served.
	Address() string
	// Link makes a link that lets one browser in, once.
	Link() (PageLink, error)
	// HasPassword reports whether there is a password, SetPassword sets or, with "",
	// removes it.
	HasPassword() (bool, error)
	SetPassword(password string) error
	// Sessions lists the browsers that are in, End ends the session of one, or of all when
	// id is "".
	Sessions() ([]PageSession, error)
	End(id string) error
}

// PageState is how the page is.
type PageState struct {
	URL      string        `json:"url,omitempty" doc:"Where browsers reach it; missing while it is not served"`
	Password bool          `json:"password" doc:"There is a password"`
	Sessions []PageSession `json:"sessions" doc:"Browsers that are logged in, the one used last first"`
}

// PageLink lets one browser in, once.
type PageLink struct {
	URL     string    `json:"url"`
	Expires time.Time `json:"expires"`
}

// PageSession is a browser that is logged in.
type PageSession struct {
	ID      string    `json:"id"`
	Created time.Time `json:"created"`
	Used    time.Time `json:"used" doc:"Last, to the hour"`
	Agent   string    `json:"agent,omitempty" doc:"What the browser calls itself"`
	From    string    `json:"from,omitempty" doc:"Address from which it logged in"`
}

// PagePassword is a password to be set.
type PagePassword struct {
	Password string `json:"password" maxLength:"1024" doc:"At least 10 characters, or empty for none"`
}

type body[T any] struct{ Body T }

// ErrNotServed means that the node serves no page.
var ErrNotServed = errors.New("the node serves no page")

// none is the page of a process that has none.
type none struct{}

func (none) Address() string                  { return "" }
func (none) Link() (PageLink, error)          { return PageLink{}, ErrNotServed }
func (none) HasPassword() (bool, error)       { return false, nil }
func (none) SetPassword(string) error         { return ErrNotServed }
func (none) Sessions() ([]PageSession, error) { return []PageSession{}, nil }
func (none) End(string) error                 { return ErrNotServed }

// Register adds the requests about a page to the API; nil is a process without one.
func Register(api huma.API, page Page) {
	if page == nil {
		page = none{}
	}
	huma.Get(api, "/v1/page", func(context.Context, *struct{}) (*body[PageState], error) {
		out := PageState{URL: page.Address()}
		var err error
		if out.Password, err = page.HasPassword(); err == nil {
			out.Sessions, err = page.Sessions()
		}
		return &body[PageState]{out}, err
	})
	huma.Post(api, "/v1/page/link", func(context.Context, *struct{}) (*body[PageLink], error) {
		link, err := page.Link()
		if err != nil {
			return nil, huma.Error409Conflict(err.Error() + "; see page.listen in the configuration, and mimird status")
		}
		return &body[PageLink]{link}, nil
	})
	huma.Put(api, "/v1/page/password", func(_ context.Context, in *struct{ Body PagePassword }) (*struct{}, error) {
		if err := page.SetPassword(in.Body.Password); err != nil {
			return nil, huma.Error422UnprocessableEntity(err.Error())
		}
		return nil, nil
	})
	huma.Delete(api, "/v1/page/sessions", func(context.Context, *struct{}) (*struct{}, error) {
		return nil, page.End("")
	})
	huma.Delete(api, "/v1/page/sessions/{session}", func(_ context.Context, in *struct {
		Session string `path:"session"`
	},
	) (*struct{}, error) {
		if err := page.End(in.Session); err != nil {
			return nil, huma.Error404NotFound(err.Error() + "; mimird page sessions lists them")
		}
		return nil, nil
	})
}
