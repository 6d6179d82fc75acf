// SPDX-License-Identifier: MPL-2.0

package bridgetest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"time"

	"go.yaml.in/yaml/v3"
	"maunium.net/go/mautrix/id"
)

// Service is an application service, as its registration file says it.
type Service struct {
	ID              string `yaml:"id"`
	URL             string `yaml:"url"`
	ASToken         string `yaml:"as_token"`
	HSToken         string `yaml:"hs_token"`
	SenderLocalpart string `yaml:"sender_localpart"`
	// Ephemeral is whether the service gets the receipts of users that are not its own.
	Ephemeral  bool `yaml:"receive_ephemeral"`
	Namespaces struct {
		Users []Namespace `yaml:"users"`
	} `yaml:"namespaces"`
}

// Namespace is a part of the user ids that a service is interested in.
type Namespace struct {
	Regex     string `yaml:"regex"`
	Exclusive bool   `yaml:"exclusive"`
}

// ParseService reads a registration file.
func ParseService(registration []byte) (Service, error) {
	var s Service
	if err := yaml.Unmarshal(registration, &s); err != nil {
		return Service{}, fmt.Errorf("read registration: %w", err)
	}
	return s, nil
}

// maxPush is how many events go into one transaction.
const maxPush = 100

type service struct {
	Service
	users []*regexp.Regexp
	retry time.Duration
	next  int // stream position of the first event not pushed
	// ephemeral are the receipts that were not pushed.
	ephemeral []json.RawMessage
	// transactions is the number of the last one.
	transactions int
}

func newService(s Service, retry time.Duration) (*service, error) {
	out := &service{Service: s, retry: retry}
	for _, namespace := range s.Namespaces.Users {
		expr, err := regexp.Compile("^(?:" + namespace.Regex + ")$")
		if err != nil {
			return nil, fmt.Errorf("service %s: %w", s.ID, err)
		}
		out.users = append(out.users, expr)
	}
	return out, nil
}

func (s *service) owns(user id.UserID, serverName string) bool {
	if user == id.NewUserID(s.SenderLocalpart, serverName) {
		return true
	}
	for _, expr := range s.users {
		if expr.MatchString(string(user)) {
			return true
		}
	}
	return false
}

// interestedLocked says whether the service gets to see an event: it concerns
// one of its users, or one of them is in the room.
func (h *Homeserver) interestedLocked(s *service, event *Event) bool {
	if s.owns(event.Sender, h.name) {
		return true
	}
	if event.Type == "m.room.member" && s.owns(id.UserID(*event.StateKey), h.name) {
		return true
	}
	for _, member := range h.rooms[event.Room].members("join") {
		if s.owns(member, h.name) {
			return true
		}
	}
	return false
}

// isOwn reports whether a user exists for the service alone.
func (s *service) isOwn(user id.UserID, serverName string) bool {
	for i, expr := range s.users {
		if s.Namespaces.Users[i].Exclusive && expr.MatchString(string(user)) {
			return true
		}
	}
	return user == id.NewUserID(s.SenderLocalpart, serverName)
}

// offerReceiptLocked has a receipt pushed to a service that wants it.
func (h *Homeserver) offerReceiptLocked(s *service, r Receipt) {
	if !s.Ephemeral || s.isOwn(r.User, h.name) || r.Marker != "m.read" && r.Marker != "m.read.private" {
		return
	}
	for _, member := range h.rooms[r.Room].members("join") {
		if s.owns(member, h.name) {
			raw, err := json.Marshal(map[string]any{
				"type": "m.receipt", "room_id": r.Room,
				"content": map[id.EventID]any{r.Event: map[string]any{r.Marker: map[id.UserID]any{r.User: map[string]any{"ts": time.Now().UnixMilli()}}}},
			})
			if err != nil {
				panic(err) // strings
			}
			s.ephemeral = append(s.ephemeral, raw)
			return
		}
	}
}

// push sends a service its transactions until the homeserver stops.
func (h *Homeserver) push(s *service) {
	if s.URL == "" {
		return
	}
	client := &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	for {
		txn, body := h.nextTransaction(s)
		if body == nil {
			return
		}
		for try := 0; !h.pushOnce(client, s, strconv.Itoa(txn), body); try++ {
			timer := time.NewTimer(s.retry << min(try, 5))
			select {
			case <-timer.C:
			case <-h.stopped.Done():
				timer.Stop()
				return
			}
		}
	}
}

// nextTransaction waits for events that a service wants, and gives them a number. body
// is nil when the homeserver stops.
func (h *Homeserver) nextTransaction(s *service) (txn int, body []byte) {
	for {
		h.mu.Lock()
		changed := h.changed
		var events []*Event
		for s.next < len(h.stream) && len(events) < maxPush {
			if event := h.stream[s.next]; h.interestedLocked(s, event) {
				events = append(events, event)
			}
			s.next++
		}
		transaction := map[string]any{"events": events}
		news := len(events) > 0
		if len(s.ephemeral) > 0 {
			transaction["ephemeral"], news = s.ephemeral, true
			s.ephemeral = nil
		}
		body, err := json.Marshal(transaction)
		if news {
			s.transactions++
		}
		txn = s.transactions
		h.mu.Unlock()
		if err != nil {
			panic(err) // our own structs
		}
		if news {
			return txn, body
		}
		select {
		case <-changed:
		case <-h.stopped.Done():
			return 0, nil
		}
	}
}

// SetPushing says whether application services are reached. What happens meanwhile
// is pushed later.
func (h *Homeserver) SetPushing(on bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.quiet, h.oneTransaction = !on, false
}

// PushOne lets one more transaction through after SetPushing(false).
func (h *Homeserver) PushOne() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.oneTransaction = true
}

func (h *Homeserver) pushOnce(client *http.Client, s *service, txn string, body []byte) bool {
	h.mu.Lock()
	quiet := h.quiet && !h.oneTransaction
	h.oneTransaction = false
	h.mu.Unlock()
	if quiet {
		return false
	}
	return h.callService(h.stopped, client, s, http.MethodPut, "/_matrix/app/v1/transactions/"+url.PathEscape(txn), body) == nil
}

func (h *Homeserver) callService(ctx context.Context, client *http.Client, s *service, method, path string, body []byte) error {
	req, err := http.NewRequestWithContext(ctx, method, s.URL+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+s.HSToken)
	req.Header.Set("Content-Type", "application/json")
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, io.LimitReader(resp.Body, maxBody)); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("application service answered %s", resp.Status)
	}
	return nil
}
