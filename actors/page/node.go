// SPDX-License-Identifier: MPL-2.0

package page

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/mimird/mimird/actors/control"
	"github.com/mimird/mimird/actors/control/browsers"
)

func (s *server) routesOfNode(in, form func(string, func(http.ResponseWriter, *request))) {
	in("/node", s.node)
	form("/node/backup", s.makeBackup)
	in("/settings", s.settings)
	form("/settings/password", s.setPassword)
	form("/settings/sessions/{session}/end", s.endSession)
	form("/accounts", s.createAccount)
	in(accountPath+"/settings", s.settings)
	form(accountPath+"/settings", s.changeAccount)
}

// frameOfNode fills what pages have around them that are of no account.
func (s *server) frameOfNode(r *request, section, title string) frame {
	f := frame{Title: title, Section: section, CSRF: r.session.csrf, Said: said(r.URL.Query().Get("said"))}
	ctx, cancel := r.ask()
	defer cancel()
	if accounts, err := s.api.Accounts(ctx); err == nil && len(accounts) > 0 {
		f.Accounts, f.Account = accounts, accounts[0]
		f.Live = accountLink(f.Account.ID, "live")
		for _, a := range accounts {
			if a.ID == r.PathValue("account") {
				f.Account = a
			}
		}
	}
	return f
}

// nodeView is the state of the node.
type nodeView struct {
	Status control.Status
	Tree   []treeLine
	Parts  []partView
	// Backup says that a target for backups is configured.
	Backup bool
}

// treeLine is a kind of actor in the supervision tree.
type treeLine struct {
	control.Actors
	Depth int
	Means string
	// There says that the node has one now.
	There bool
}

// tree is the supervision tree, as in docs/architecture.md.
var tree = []struct {
	kind, means string
	depth       int
}{
	{"node", "starts and stops the rest", 0},
	{"store", "the database", 1},
	{"overlay", "the connection to Yggdrasil", 1},
	{"listener", "accepts connections", 1},
	{"resolver", "asks trackers", 1},
	{"account", "one for each account", 1},
	{"contact", "one for each contact", 2},
	{"session", "one for each connection to a contact", 3},
	{"groups", "one for each account", 2},
	{"mediatorlink", "one for each connection to a mediator", 3},
	{"group", "one for each group", 3},
	{"transfers", "the queue of files", 1},
	{"transfer", "one for each file on its way", 2},
	{"tracker", "the tracker role", 1},
	{"files", "the role of a file server", 1},
	{"mediator", "the role of a mediator", 1},
	{"backups", "makes backups when it is time", 1},
	{"search", "the search index", 1},
	{"control", "the API for commands", 1},
	{"page", "this page", 1},
	{"matrix", "the bridge", 1},
}

// partView is what a part of the process says of itself.
type partView struct {
	Name  string
	Lines []string
}

func (s *server) node(w http.ResponseWriter, r *request) {
	ctx, cancel := r.ask()
	defer cancel()
	status, err := s.api.Status(ctx)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	actors, err := s.api.Actors(ctx)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	view := nodeView{Status: status, Tree: treeOf(actors), Backup: s.backup != nil}
	for _, name := range slices.Sorted(maps.Keys(status.Parts)) {
		view.Parts = append(view.Parts, partView{name, linesOf(status.Parts[name])})
	}
	f := s.frameOfNode(r, "node", "Node")
	f.Page = view
	s.render(w, http.StatusOK, "node", f)
}

// makeBackup begins a backup to where the configuration says. What becomes of it stands on the
// page of the node.
func (s *server) makeBackup(w http.ResponseWriter, r *request) {
	if s.backup == nil {
		s.wrong(w, r, http.StatusNotFound, "The configuration of the node names no place for backups; see backup.target.")
		return
	}
	ctx, cancel := r.ask()
	defer cancel()
	begun, err := s.backup(ctx)
	said := "backup"
	if !begun {
		said = "backing"
	}
	s.done(w, r, err, "/node", said)
}

// treeOf orders the kinds of actors as they are supervised; kinds that the tree does not
// have come last.
func treeOf(actors []control.Actors) []treeLine {
	byKind := make(map[string]control.Actors)
	for _, a := range actors {
		byKind[a.Kind] = a
	}
	var out []treeLine
	for _, t := range tree {
		if a, has := byKind[t.kind]; has {
			out = append(out, treeLine{Actors: a, Depth: t.depth, Means: t.means, There: a.Live > 0})
			delete(byKind, t.kind)
		}
	}
	for _, kind := range slices.Sorted(maps.Keys(byKind)) {
		out = append(out, treeLine{Actors: byKind[kind], Depth: 1, There: byKind[kind].Live > 0})
	}
	return out
}

// linesOf writes the plain fields of what a part says.
func linesOf(raw json.RawMessage) []string {
	var fields map[string]any
	if err := json.Unmarshal(raw, &fields); err != nil {
		return []string{"its state cannot be read"}
	}
	var out []string
	for _, key := range slices.Sorted(maps.Keys(fields)) {
		switch value := fields[key].(type) {
		case string, bool, float64:
			if text := fmt.Sprint(value); text != "" {
				out = append(out, words(key)+": "+text)
			}
		case map[string]any:
			if ok, has := value["ok"].(bool); has {
				out = append(out, words(key)+": "+map[bool]string{true: "fine", false: "not working"}[ok])
			}
		}
	}
	return out
}

// settingsView is what can be set.
type settingsView struct {
	State   browsers.PageState
	Current string // the session that asks
}

func (s *server) settings(w http.ResponseWriter, r *request) {
	f := s.frameOfNode(r, "settings", "Settings")
	view := settingsView{Current: r.session.id}
	var err error
	if view.State.Password, err = s.access.HasPassword(); err == nil {
		view.State.Sessions, err = s.access.Sessions()
	}
	if err != nil {
		s.fail(w, r, err)
		return
	}
	view.State.URL = s.access.Address()
	f.Page = view
	s.render(w, http.StatusOK, "settings", f)
}

func (s *server) setPassword(w http.ResponseWriter, r *request) {
	password := r.PostForm.Get("password")
	if password != r.PostForm.Get("again") {
		s.wrong(w, r, http.StatusUnprocessableEntity, "The two passwords are not the same; nothing was changed.")
		return
	}
	if err := s.access.SetPassword(password); err != nil {
		s.wrong(w, r, http.StatusUnprocessableEntity, upperFirst(err.Error())+".")
		return
	}
	s.done(w, r, nil, "/settings", "password")
}

func (s *server) endSession(w http.ResponseWriter, r *request) {
	id := r.PathValue("session")
	if id == "all" {
		id = ""
	}
	s.done(w, r, s.access.End(id), "/settings", "ended")
}

func (s *server) createAccount(w http.ResponseWriter, r *request) {
	ctx, cancel := r.ask()
	defer cancel()
	a, err := s.api.CreateAccount(ctx, strings.TrimSpace(r.PostForm.Get("name")))
	s.done(w, r, err, accountLink(a.ID), "account")
}

func (s *server) changeAccount(w http.ResponseWriter, r *request) {
	ctx, cancel := r.ask()
	defer cancel()
	account := r.PathValue("account")
	var change control.AccountChange
	for field, to := range map[string]**string{"name": &change.Name, "info": &change.Info, "strangers": &change.Strangers, "role": &change.Role} {
		if r.PostForm.Has(field) {
			value := strings.TrimSpace(r.PostForm.Get(field))
			*to = &value
		}
	}
	_, err := s.api.ChangeAccount(ctx, account, change)
	s.done(w, r, err, accountLink(account, "settings"), "saved")
}
