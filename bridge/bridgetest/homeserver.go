// SPDX-License-Identifier: MPL-2.0

package bridgetest

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"maunium.net/go/mautrix/id"
)

// Options say what homeserver to start. The zero value is good.
type Options struct {
	// ServerName is the domain of user and room ids. Empty means "mimir.test".
	ServerName string
	// Address is where to listen. Empty means any free port of loopback.
	Address string
	// Versions are the versions of the specification that are announced. Empty
	// means 1.11.
	Versions []string
	// Services are the application services, as in their registration files.
	Services []Service
	// PushRetry is the pause before a transaction is pushed again; it doubles up
	// to 32 times that. Zero means 20 ms.
	PushRetry time.Duration
	// InMemory makes a homeserver that does not listen and pushes nothing: requests
	// reach it through RoundTrip, which also works in a bubble of testing/synctest.
	InMemory bool
}

// Homeserver is a homeserver in memory that listens on loopback. Its methods may
// be called from any goroutine.
type Homeserver struct {
	name     string
	versions []string
	url      string
	server   *http.Server // nil in memory
	handler  http.Handler // in memory
	stop     context.CancelFunc
	stopped  context.Context
	workers  sync.WaitGroup // the listener and the pushers

	mu             sync.Mutex
	changed        chan struct{} // closed and replaced whenever something happened
	users          map[id.UserID]*account
	tokens         map[string]id.UserID
	rooms          map[id.RoomID]*room
	stream         []*Event // every event of every room, in order
	txns           map[txnKey]id.EventID
	sends          []Send
	receipts       []Receipt
	media          map[string][]byte
	services       []*service
	faults         []Fault
	healed         chan struct{} // closed when the faults are replaced
	slow           map[id.RoomID]time.Duration
	refused        []string // texts of events that are refused
	lagging        int      // listings that lack the events from lagFrom on
	lagFrom        int      // a position in the stream
	nextID         int
	quiet          bool            // nothing is pushed
	oneTransaction bool            // but the next one
	asked          map[string]bool // patterns of requests of the services
	longIDs        map[string]int  // how long the ids of events of a type are
}

type account struct {
	password string
	profile  map[string]json.RawMessage
	data     map[string]json.RawMessage // account data, by room and type
}

type txnKey struct {
	user id.UserID
	room id.RoomID
	txn  string
}

// Event is an event of a room.
type Event struct {
	ID       id.EventID      `json:"event_id"`
	Type     string          `json:"type"`
	Room     id.RoomID       `json:"room_id"`
	Sender   id.UserID       `json:"sender"`
	StateKey *string         `json:"state_key,omitempty"`
	Content  json.RawMessage `json:"content"`
	Time     int64           `json:"origin_server_ts"`
	Redacts  id.EventID      `json:"redacts,omitempty"`

	position int // in the stream, from 1
}

// Send is one attempt to send an event to a room, as it came in.
type Send struct {
	At      time.Time
	Room    id.RoomID
	Sender  id.UserID
	Type    string
	TxnID   string
	Content json.RawMessage
	// Fault is what the attempt met; the zero Fault when it was served.
	Fault FaultKind
	// EventID is empty when the attempt was not served.
	EventID id.EventID
	// Repeat means that the transaction id was known: no event was added.
	Repeat bool
}

// Receipt is a read receipt or read marker that somebody sent.
type Receipt struct {
	Room   id.RoomID
	User   id.UserID
	Event  id.EventID
	Marker string // such as "m.read"
}

// NewHomeserver starts a homeserver. Close ends it.
func NewHomeserver(opts Options) (*Homeserver, error) {
	if opts.ServerName == "" {
		opts.ServerName = "mimir.test"
	}
	if opts.Address == "" {
		opts.Address = "127.0.0.1:0"
	}
	if len(opts.Versions) == 0 {
		opts.Versions = []string{"v1.11"}
	}
	if opts.PushRetry == 0 {
		opts.PushRetry = 20 * time.Millisecond
	}
	stopped, stop := context.WithCancel(context.Background())
	h := &Homeserver{
		name:     opts.ServerName,
		versions: slices.Clone(opts.Versions),
		stop:     stop,
		stopped:  stopped,
		changed:  make(chan struct{}),
		users:    make(map[id.UserID]*account),
		tokens:   make(map[string]id.UserID),
		rooms:    make(map[id.RoomID]*room),
		txns:     make(map[txnKey]id.EventID),
		media:    make(map[string][]byte),
		healed:   make(chan struct{}),
		slow:     make(map[id.RoomID]time.Duration),
		longIDs:  make(map[string]int),
		asked:    make(map[string]bool),
	}
	for _, s := range opts.Services {
		service, err := newService(s, opts.PushRetry)
		if err != nil {
			stop()
			return nil, err
		}
		h.services = append(h.services, service)
		h.addUserLocked(h.userID(s.SenderLocalpart), "")
	}
	if opts.InMemory {
		h.url, h.quiet = "http://"+opts.ServerName, true
		h.handler = h.withFaults(h.routes())
		return h, nil
	}
	listener, err := new(net.ListenConfig).Listen(stopped, "tcp", opts.Address)
	if err != nil {
		stop()
		return nil, fmt.Errorf("fake homeserver: listen: %w", err)
	}
	h.url = "http://" + listener.Addr().String()
	h.server = &http.Server{
		Handler:           h.withFaults(h.routes()),
		ReadHeaderTimeout: 10 * time.Second,
		BaseContext:       func(net.Listener) context.Context { return stopped },
	}
	h.workers.Go(func() { _ = h.server.Serve(listener) })
	for _, s := range h.services {
		h.workers.Go(func() { h.push(s) })
	}
	return h, nil
}

// Close stops the homeserver and waits until nothing of it is left.
func (h *Homeserver) Close() {
	h.stop()
	if h.server != nil {
		_ = h.server.Close()
	}
	h.workers.Wait()
}

// URL is the address of the client API, without a slash at its end.
func (h *Homeserver) URL() string { return h.url }

// ServerName is the domain of the server's user ids.
func (h *Homeserver) ServerName() string { return h.name }

// CreateUser makes a user that can log in with a password.
func (h *Homeserver) CreateUser(localpart, password string) id.UserID {
	h.mu.Lock()
	defer h.mu.Unlock()
	user := h.userID(localpart)
	h.addUserLocked(user, password)
	return user
}

// ForgetTransactions makes the homeserver forget which transaction ids it has
// seen, as homeservers do when they restart.
func (h *Homeserver) ForgetTransactions() {
	h.mu.Lock()
	defer h.mu.Unlock()
	clear(h.txns)
}

// Revoke logs an access token out.
func (h *Homeserver) Revoke(token string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.tokens, token)
}

// ForgetService makes the homeserver not know an application service any more, until
// the function it returns is called. What is pushed is still pushed.
func (h *Homeserver) ForgetService(id string) (recall func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	before := h.services
	h.services = slices.DeleteFunc(slices.Clone(before), func(s *service) bool { return s.ID == id })
	return func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.services = before
	}
}

// LagListings makes the next listings of rooms lack the newest message and all that
// comes after it, as a homeserver may that has more to do than it can.
func (h *Homeserver) LagListings(listings int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, event := range h.stream {
		if event.Type == "m.room.message" {
			h.lagging, h.lagFrom = listings, event.position
		}
	}
}

// Withhold is WithholdNewest for messages.
func (h *Homeserver) Withhold() (appear func()) { return h.WithholdNewest("m.room.message") }

// WithholdNewest takes the newest event of a type out of its room: the homeserver has
// taken it and not dealt with it yet. The function it returns makes the event appear,
// after what has come meanwhile.
func (h *Homeserver) WithholdNewest(eventType string) (appear func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	var newest *Event
	for _, event := range h.stream {
		if event.Type == eventType {
			newest = event
		}
	}
	r := h.rooms[newest.Room]
	r.timeline = slices.DeleteFunc(r.timeline, func(event *Event) bool { return event == newest })
	return func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		late := *newest
		late.position = len(h.stream) + 1
		if slices.ContainsFunc(r.timeline, func(e *Event) bool { return e.Redacts == late.ID }) {
			late.Content = json.RawMessage("{}")
		}
		h.stream, r.timeline = append(h.stream, &late), append(r.timeline, &late)
		h.notifyLocked()
	}
}

// Sends returns every attempt to send an event, in the order of arrival.
func (h *Homeserver) Sends() []Send {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.sends)
}

// StoreMedia stores a file under a name of the test's choice, as an upload does.
func (h *Homeserver) StoreMedia(name string, data []byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.media[name] = data
}

// Receipts returns every receipt, in the order of arrival.
func (h *Homeserver) Receipts() []Receipt {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.receipts)
}

// Timeline returns the events of a room, oldest first, state events included.
func (h *Homeserver) Timeline(roomID id.RoomID) []Event {
	h.mu.Lock()
	defer h.mu.Unlock()
	var events []Event
	if r := h.rooms[roomID]; r != nil {
		for _, event := range r.timeline {
			events = append(events, *event)
		}
	}
	return events
}

// Rooms returns the ids of all rooms.
func (h *Homeserver) Rooms() []id.RoomID {
	h.mu.Lock()
	defer h.mu.Unlock()
	rooms := make([]id.RoomID, 0, len(h.rooms))
	for roomID := range h.rooms {
		rooms = append(rooms, roomID)
	}
	slices.Sort(rooms)
	return rooms
}

// Members returns the users with the given membership, such as "join".
func (h *Homeserver) Members(roomID id.RoomID, membership string) []id.UserID {
	h.mu.Lock()
	defer h.mu.Unlock()
	if r := h.rooms[roomID]; r != nil {
		return r.members(membership)
	}
	return nil
}

// Wait returns when the condition holds, or with the error of ctx. The condition
// is asked again whenever something has happened; it may call all methods but
// Wait.
func (h *Homeserver) Wait(ctx context.Context, condition func() bool) error {
	for {
		h.mu.Lock()
		changed := h.changed
		h.mu.Unlock()
		if condition() {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (h *Homeserver) userID(localpart string) id.UserID { return id.NewUserID(localpart, h.name) }

func (h *Homeserver) addUserLocked(user id.UserID, password string) {
	if h.users[user] == nil {
		h.users[user] = &account{profile: make(map[string]json.RawMessage), data: make(map[string]json.RawMessage)}
	}
	h.users[user].password = password
}

// newIDLocked returns a number that makes an id unique.
func (h *Homeserver) newIDLocked() string {
	h.nextID++
	return strconv.Itoa(h.nextID)
}

func (h *Homeserver) notifyLocked() {
	close(h.changed)
	h.changed = make(chan struct{})
}
