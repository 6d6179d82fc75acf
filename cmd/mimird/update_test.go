// SPDX-License-Identifier: MPL-2.0

//go:build unix

package main

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"time"

	"aead.dev/minisign"

	"github.com/mimird/mimird/cmd/internal/update"
)

// releaseList is a web server with a signed release list.
type releaseList struct {
	server *httptest.Server
	key    minisign.PrivateKey

	mu   sync.Mutex
	list []byte
}

// releases serves a list: releases ISSUED VERSION...; "!" before a version makes it one that
// mends something that others can attack.
func (w *world) releases(args []string) error {
	if len(args) < 2 {
		return fmt.Errorf("usage: releases ISSUED VERSION")
	}
	issued, err := time.Parse(time.DateOnly, args[0])
	if err != nil {
		return err
	}
	list := update.List{Product: update.Product, Issued: issued}
	for _, version := range args[1:] {
		r := update.Release{Version: version, URL: "https://example.org/" + version}
		if version[0] == '!' {
			r = update.Release{Version: version[1:], Security: true, URL: "https://example.org/" + version[1:]}
		}
		list.Releases = append(list.Releases, r)
	}
	raw, err := json.Marshal(list)
	if err != nil {
		return err
	}
	if w.list == nil {
		public, private, err := minisign.GenerateKey(rand.Reader)
		if err != nil {
			return err
		}
		w.list = &releaseList{key: private}
		w.list.server = httptest.NewServer(w.list)
		w.ts.Setenv("RELEASES", w.list.server.URL+"/releases.json")
		w.ts.Setenv("RELEASES_KEY", public.String())
	}
	w.list.mu.Lock()
	defer w.list.mu.Unlock()
	w.list.list = raw
	return nil
}

func (l *releaseList) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch r.URL.Path {
	case "/releases.json":
		_, _ = w.Write(l.list) // the script sees what is missing
	case "/releases.json.minisig":
		_, _ = w.Write(minisign.Sign(l.key, l.list))
	default:
		http.NotFound(w, r)
	}
}
