// SPDX-License-Identifier: MPL-2.0

package fakemediator

import (
	"bufio"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/binary"
	"io"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/mimird/mimird/actors/overlay"
	"github.com/mimird/mimird/proto/identity"
)

// Host is the node that a mediator runs on.
type Host interface {
	Key() identity.NodeKey
	Listen(port uint16) (overlay.Listener, error)
	Close() error
}

// Mediator is the mediator. Its methods are safe for concurrent use.
type Mediator struct {
	host    Host
	serving sync.WaitGroup

	mu      sync.Mutex
	nonces  map[string][]byte
	chats   map[int64]*Chat
	invites map[int64]*invite
	nextID  int64
	lines   []*Line
	calls   []Call

	// What tests set, under Lock.

	// Intercept may answer a request in place of the mediator, and returns true then.
	Intercept func(l *Line, q Call) bool
	// LoseAnswer says which requests are carried out and not answered: the connection ends.
	LoseAnswer func(q Call) bool
	// Stall says which requests are read and neither carried out nor answered: the connection
	// stays as it is.
	Stall func(l *Line, q Call) bool
	// Strays puts fields that nobody knows between those of lists and pushes, and pushes of an
	// unknown kind between the others: readers have to scan.
	Strays bool
	// SwapPushes delivers pushes to a connection in pairs, the second first. LosePushes
	// delivers none.
	SwapPushes, LosePushes bool
	// WorkNonce is the nonce for those who are logged in, for whose key the proof of work is
	// found at once; nil means a random one.
	WorkNonce []byte
}

// Chat is a group.
type Chat struct {
	ID                int64
	Name, Description string
	Avatar            []byte
	Creator           string
	Members           map[string]*Member
	Messages          []Message
	last              int64
	subscribed        map[*Line]bool
}

// Member is somebody in a group.
type Member struct {
	Permissions byte
	Banned      bool
	Info        []byte
	InfoTime    int64
	Changed     int64
}

// Message is a message of a group.
type Message struct {
	ID, GUID, Time int64
	Author         string
	Blob           []byte
}

type invite struct {
	id       int64
	chat     int64
	from, to string
	data     []byte
	sent     bool
}

// New starts a mediator. It stops at the end of the test.
func New(t testing.TB, host Host) *Mediator {
	t.Helper()
	m, err := Start(host)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	return m
}

// Start starts a mediator. The caller calls Close.
func Start(host Host) (*Mediator, error) {
	m := &Mediator{
		host: host, nonces: make(map[string][]byte), chats: make(map[int64]*Chat), invites: make(map[int64]*invite), nextID: 1000,
	}
	listener, err := host.Listen(42)
	if err != nil {
		return nil, err
	}
	m.serving.Go(func() {
		for {
			conn, err := listener.Accept(context.Background())
			if err != nil {
				return
			}
			m.serving.Go(func() { m.serve(conn) })
		}
	})
	return m, nil
}

// Close ends the mediator and its node.
func (m *Mediator) Close() error {
	err := m.host.Close()
	m.serving.Wait()
	return err
}

// Key is the key of the mediator.
func (m *Mediator) Key() identity.NodeKey { return m.host.Key() }

// Lock calls f while nothing else happens at the mediator.
func (m *Mediator) Lock(f func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f()
}

// Count returns how many requests with a command have arrived.
func (m *Mediator) Count(command byte) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := 0
	for _, q := range m.calls {
		if q.Command == command {
			n++
		}
	}
	return n
}

// Disconnect ends all connections.
func (m *Mediator) Disconnect() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, l := range m.lines {
		l.Close()
	}
	m.lines = nil
}

func (m *Mediator) serve(conn overlay.Conn) {
	l := NewLine(conn)
	defer m.hangUp(l)
	in := bufio.NewReader(conn)
	var opening [2]byte
	if _, err := io.ReadFull(in, opening[:]); err != nil || opening != [2]byte{1, 0} {
		return
	}
	m.Lock(func() { m.lines = append(m.lines, l) })
	for {
		q, err := ReadCall(in)
		if err != nil {
			return
		}
		if !m.handle(l, q) {
			return
		}
	}
}

func (m *Mediator) hangUp(l *Line) {
	l.Close()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.lines = slices.DeleteFunc(m.lines, func(x *Line) bool { return x == l })
	for _, c := range m.chats {
		if c.subscribed[l] {
			delete(c.subscribed, l)
			m.online(c, l.user, 0)
		}
	}
}

// handle carries out a request; false ends the connection.
func (m *Mediator) handle(l *Line, q Call) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.calls = append(m.calls, q)
	if m.Stall != nil && m.Stall(l, q) || m.Intercept != nil && m.Intercept(l, q) {
		return true
	}
	answer, refusal, after := m.carryOut(l, q)
	if m.LoseAnswer != nil && m.LoseAnswer(q) {
		return false
	}
	switch {
	case refusal != "":
		l.Refuse(q, refusal)
	case m.Strays && q.Command != DeleteChat: // which is answered with no field
		l.OK(q, append([][]byte{stray()}, strayed(answer)...)...)
	default:
		l.OK(q, answer...)
	}
	if after != nil {
		after()
	}
	return true
}

// carryOut returns the fields of the answer, or the text of a refusal, and what to do after
// the answer.
func (m *Mediator) carryOut(l *Line, q Call) (answer [][]byte, refusal string, after func()) {
	ok := func(parts ...[]byte) ([][]byte, string, func()) { return parts, "", nil }
	no := func(text string) ([][]byte, string, func()) { return nil, text, nil }
	switch q.Command {
	case GetNonce:
		nonce := make([]byte, 32)
		_, _ = rand.Read(nonce)
		nonce[31] = 0xff // no point of the curve
		if l.user != "" && m.WorkNonce != nil {
			nonce = m.WorkNonce
		}
		m.nonces[string(q.Fields[0x01])] = nonce
		return ok(Field(0x03, nonce))
	case Auth:
		return m.auth(l, q)
	case Ping:
		return ok()
	}
	if l.user == "" {
		return no("auth required")
	}
	switch q.Command {
	case CreateChat:
		return m.create(l, q)
	case UserChats:
		var ids []int64
		for id, c := range m.chats {
			if x := c.Members[l.user]; x != nil && !x.Banned {
				ids = append(ids, id)
			}
		}
		slices.Sort(ids)
		parts := [][]byte{count(len(ids))}
		for _, id := range ids {
			parts = append(parts, Number(0x10, id))
		}
		return ok(parts...)
	case InviteAnswer:
		return m.inviteAnswer(l, q)
	}
	c := m.chats[q.Number(0x10)]
	if c == nil {
		if q.Command == DeleteChat {
			return no("no such chat")
		}
		return no("not a member or banned")
	}
	return m.inChat(l, q, c)
}

func (m *Mediator) auth(l *Line, q Call) ([][]byte, string, func()) {
	user := string(q.Fields[0x01])
	nonce := m.nonces[user]
	switch {
	case nonce == nil:
		return nil, "unknown nonce", nil
	case string(nonce) != string(q.Fields[0x03]):
		return nil, "nonce mismatch", nil
	case !ed25519.Verify(q.Fields[0x01], nonce, q.Fields[0x02]):
		return nil, "invalid signature", nil
	}
	delete(m.nonces, user)
	l.user = user
	return nil, "", func() {
		for _, id := range slices.Sorted(maps.Keys(m.invites)) {
			if i := m.invites[id]; i.to == user && !i.sent {
				i.sent = true
				m.pushInvite(l, i)
			}
		}
	}
}

func (m *Mediator) create(l *Line, q Call) ([][]byte, string, func()) {
	nonce := m.nonces[l.user]
	proof := append(slices.Clone(nonce), q.Fields[0x04]...)
	switch sig := q.Fields[0x02]; {
	case string(q.Fields[0x01]) != l.user:
		return nil, "keys mismatch", nil
	case nonce == nil || string(nonce) != string(q.Fields[0x03]):
		return nil, "unknown nonce", nil
	case len(sig) != 64 || sig[0] != 0 || sig[1] != 0:
		return nil, "signature filter failed", nil
	case !ed25519.Verify([]byte(l.user), proof, sig):
		return nil, "invalid signature", nil
	case len(q.Fields[0x20]) == 0:
		return nil, "missing chat name", nil
	}
	delete(m.nonces, l.user)
	c := m.addChat(string(q.Fields[0x20]), l.user)
	c.Description, c.Avatar = string(q.Fields[0x21]), q.Fields[0x22]
	return [][]byte{Number(0x10, c.ID)}, "", nil
}

func (m *Mediator) addChat(name, creator string) *Chat {
	m.nextID++
	c := &Chat{ID: m.nextID, Name: name, Creator: creator, Members: make(map[string]*Member), subscribed: make(map[*Line]bool)}
	c.Members[creator] = &Member{Permissions: Owner | User}
	m.chats[c.ID] = c
	return c
}

// inChat carries out what concerns one group.
func (m *Mediator) inChat(l *Line, q Call, c *Chat) ([][]byte, string, func()) {
	ok := func(parts ...[]byte) ([][]byte, string, func()) { return parts, "", nil }
	no := func(text string) ([][]byte, string, func()) { return nil, text, nil }
	me := c.Members[l.user]
	member := me != nil && !me.Banned
	may := func(mask byte) bool { return member && me.Permissions&mask != 0 }
	user := string(q.Fields[0x15])
	switch q.Command {
	case DeleteMessage:
		return m.deleteMessage(l, q, c, may(Owner|Admin|Moderator))
	case DeleteChat:
		if c.Creator != l.user {
			return no("not an owner")
		}
		for other := range c.subscribed {
			if other != l {
				m.push(other, c, Message{Author: m.author(), Blob: system(5, l.user)})
			}
		}
		delete(m.chats, c.ID)
		return [][]byte{{1}}, "", nil
	case LeaveChat:
		switch {
		case me == nil:
			return no("not a member")
		case me.Banned:
			return no("banned user")
		case me.Permissions&Owner != 0:
			return no("owner can't leave")
		}
		delete(c.Members, l.user)
		delete(c.subscribed, l)
		m.say(c, nil, system(3, l.user))
		return ok()
	case UpdateInfo:
		if !may(Owner | Admin) {
			return no("insufficient perms")
		}
		return m.updateInfo(l, q, c)
	}
	if !member {
		return no("not a member or banned")
	}
	switch q.Command {
	case Subscribe, SendMessage:
		if me.Permissions&ReadOnly != 0 {
			return no("read-only user")
		}
		if q.Command == SendMessage {
			return m.send(l, q, c)
		}
		last := c.last
		c.subscribed[l] = true
		return [][]byte{Number(0x11, last)}, "", func() {
			m.online(c, l.user, 1)
			m.deliver(l, Frame(2, 0x51, Number(0x10, c.ID), Number(0x36, me.Changed)))
		}
	case MessagesSince:
		return m.messagesSince(q, c)
	case Members:
		return ok(m.members(c)...)
	case MembersInfo:
		return ok(membersInfo(c, q.Number(0x36))...)
	case MemberInfo:
		me.Info, me.InfoTime, me.Changed = q.Fields[0x24], q.Number(0x32), q.Number(0x32)
		for other := range c.subscribed {
			m.deliver(other, Frame(2, 0x54, Number(0x10, c.ID), count(1), Field(0x15, []byte(l.user)), Field(0x24, me.Info), Number(0x32, me.InfoTime)))
		}
		return ok()
	case MemberStatus:
		return m.memberStatus(l, q, c, may(Owner|Admin))
	}
	if !may(Owner | Admin | Moderator) {
		return no("not a member or banned")
	}
	switch q.Command {
	case AddUser:
		c.Members[user] = &Member{Permissions: User, Changed: time.Now().Unix()}
		m.say(c, l, system(1, user, l.user))
	case DeleteUser:
		if x := c.Members[user]; x != nil {
			x.Banned, x.Permissions = true, x.Permissions|Banned
		}
		m.say(c, l, system(4, user, l.user))
	case SendInvite:
		return m.sendInvite(l, q, c)
	default:
		return no("unknown cmd")
	}
	return ok()
}

func (m *Mediator) updateInfo(l *Line, q Call, c *Chat) ([][]byte, string, func()) {
	blob := append([]byte{6}, Field(0x01, []byte(l.user))...)
	for _, tag := range []byte{0x20, 0x21, 0x22} {
		value, there := q.Fields[tag]
		if !there {
			continue
		}
		blob = append(blob, Field(tag, value)...)
		switch tag {
		case 0x20:
			c.Name = string(value)
		case 0x21:
			c.Description = string(value)
		case 0x22:
			c.Avatar = value
		}
	}
	return nil, "", func() { m.say(c, nil, blob) }
}

func (m *Mediator) memberStatus(l *Line, q Call, c *Chat, may bool) ([][]byte, string, func()) {
	user := string(q.Fields[0x15])
	x := c.Members[user]
	switch {
	case user == l.user:
		return nil, "cannot modify own permissions", nil
	case x == nil:
		return nil, "target user not a member", nil
	case !may:
		return nil, "insufficient perms", nil
	case len(q.Fields[0x33]) != 1 || q.Fields[0x33][0] == 0:
		return nil, "invalid permission flags", nil
	}
	x.Permissions = q.Fields[0x33][0]
	x.Banned = x.Permissions&Banned != 0
	m.say(c, l, append(append(append([]byte{7}, user...), x.Permissions), append([]byte(l.user), random()...)...))
	return nil, "", nil
}

func (m *Mediator) deleteMessage(l *Line, q Call, c *Chat, may bool) ([][]byte, string, func()) {
	guid := q.Number(0x12)
	i := slices.IndexFunc(c.Messages, func(x Message) bool { return x.GUID == guid })
	switch {
	case i < 0:
		return nil, "message not found", nil
	case c.Messages[i].Author != l.user && !may:
		return nil, "insufficient perms", nil
	}
	c.Messages = slices.Delete(c.Messages, i, i+1)
	blob := binary.BigEndian.AppendUint64([]byte{8}, uint64(guid)) //nolint:gosec // of a test
	return nil, "", func() { m.say(c, nil, append(blob, l.user...)) }
}

func (m *Mediator) send(l *Line, q Call, c *Chat) ([][]byte, string, func()) {
	guid, at := q.Number(0x12), q.Number(0x32)
	for tries := 0; ; tries++ {
		i := slices.IndexFunc(c.Messages, func(x Message) bool { return x.GUID == guid })
		if i < 0 {
			break
		}
		if c.Messages[i].Time == at {
			return [][]byte{Number(0x12, guid), Number(0x11, c.Messages[i].ID)}, "", nil
		}
		if tries == 9 {
			return nil, "db error - guid collision limit exceeded", nil
		}
		guid++
	}
	x := m.store(c, Message{GUID: guid, Time: at, Author: l.user, Blob: q.Fields[0x23]})
	m.pushAll(c, l, x)
	return [][]byte{Number(0x12, guid), Number(0x11, x.ID)}, "", nil
}

func (m *Mediator) store(c *Chat, x Message) Message {
	c.last++
	x.ID = c.last
	c.Messages = append(c.Messages, x)
	return x
}

// say stores and pushes what the mediator itself says.
func (m *Mediator) say(c *Chat, except *Line, blob []byte) {
	m.pushAll(c, except, m.store(c, Message{GUID: guidOf(random()), Time: time.Now().Unix(), Author: m.author(), Blob: blob}))
}

func (m *Mediator) pushAll(c *Chat, except *Line, x Message) {
	for l := range c.subscribed {
		if l != except {
			m.push(l, c, x)
		}
	}
}

func (m *Mediator) push(l *Line, c *Chat, x Message) {
	m.deliver(l, Frame(2, 0x32, Number(0x10, c.ID), x.fields()))
}

// stray is a field of a later version.
func stray() []byte { return Field(0x7e, []byte("later")) }

// strayed puts a stray behind each part of an answer.
func strayed(parts [][]byte) (mixed [][]byte) {
	for _, p := range parts {
		mixed = append(mixed, p, stray())
	}
	return mixed
}

// deliver writes a push, or keeps or loses it.
func (m *Mediator) deliver(l *Line, push []byte) {
	if m.Strays {
		l.Write(Frame(2, 0x7777, stray()))
		push = Frame(2, binary.BigEndian.Uint16(push[1:]), stray(), push[7:], stray())
	}
	switch {
	case m.LosePushes:
	case m.SwapPushes && len(l.held) == 0:
		l.held = append(l.held, push)
	default:
		l.Write(push)
		for _, held := range l.held {
			l.Write(held)
		}
		l.held = nil
	}
}

func (m *Mediator) online(c *Chat, user string, online byte) {
	blob := append(append([]byte{9}, user...), online)
	blob = binary.BigEndian.AppendUint64(blob, uint64(time.Now().Unix())) //nolint:gosec // of a test
	m.pushAll(c, nil, Message{Author: m.author(), Blob: blob})
}

func (x Message) fields() []byte {
	b := append(Number(0x11, x.ID), Number(0x12, x.GUID)...)
	b = append(append(b, Number(0x32, x.Time)...), Field(0x01, []byte(x.Author))...)
	return append(b, Field(0x23, x.Blob)...)
}

func (m *Mediator) messagesSince(q Call, c *Chat) ([][]byte, string, func()) {
	limit := int(binary.BigEndian.Uint32(q.Fields[0x30]))
	if limit < 1 || limit > 500 {
		return nil, "limit must be between 1 and 500", nil
	}
	var parts [][]byte
	for _, x := range c.Messages {
		if x.ID > q.Number(0x14) && len(parts) < limit {
			parts = append(parts, x.fields())
		}
	}
	return append([][]byte{count(len(parts))}, parts...), "", nil
}

func (m *Mediator) members(c *Chat) [][]byte {
	users := slices.Sorted(maps.Keys(c.Members))
	users = slices.DeleteFunc(users, func(u string) bool { return c.Members[u].Banned })
	parts := [][]byte{count(len(users))}
	for _, u := range users {
		online := byte(0)
		for l := range c.subscribed {
			if l.user == u {
				online = 1
			}
		}
		parts = append(parts, Field(0x15, []byte(u)), Field(0x33, []byte{c.Members[u].Permissions}), Field(0x34, []byte{online}), Number(0x37, 5))
	}
	return parts
}

func membersInfo(c *Chat, since int64) [][]byte {
	users := slices.Sorted(maps.Keys(c.Members))
	users = slices.DeleteFunc(users, func(u string) bool { return c.Members[u].Banned })
	parts := [][]byte{count(len(users))}
	for _, u := range users {
		x := c.Members[u]
		info := x.Info
		if x.Changed <= since && since > 0 {
			info = nil
		}
		parts = append(parts, Field(0x15, []byte(u)), Field(0x24, info), Number(0x32, x.InfoTime))
	}
	return parts
}

func (m *Mediator) sendInvite(l *Line, q Call, c *Chat) ([][]byte, string, func()) {
	user := string(q.Fields[0x15])
	if x := c.Members[user]; x != nil && !x.Banned {
		return nil, "user already in chat", nil
	}
	for _, i := range m.invites {
		if i.chat == c.ID && i.to == user {
			return nil, "invite already exists", nil
		}
	}
	m.nextID++
	i := &invite{id: m.nextID, chat: c.ID, from: l.user, to: user, data: q.Fields[0x25]}
	m.invites[i.id] = i
	return nil, "", func() { m.offer(i) }
}

// offer pushes an invite to the connections of its recipient.
func (m *Mediator) offer(i *invite) {
	for _, other := range m.lines {
		if other.user == i.to {
			i.sent = true
			m.pushInvite(other, i)
		}
	}
}

func (m *Mediator) pushInvite(l *Line, i *invite) {
	c := m.chats[i.chat]
	if c == nil {
		return
	}
	parts := [][]byte{
		Number(0x13, i.id), Number(0x10, i.chat), Field(0x01, []byte(i.from)), Number(0x32, time.Now().Unix()),
		Field(0x20, []byte(c.Name)), Field(0x21, []byte(c.Description)),
	}
	if len(c.Avatar) > 0 {
		parts = append(parts, Field(0x22, c.Avatar))
	}
	l.Write(Frame(2, 0x41, append(parts, Field(0x25, i.data))...))
}

func (m *Mediator) inviteAnswer(l *Line, q Call) ([][]byte, string, func()) {
	i := m.invites[q.Number(0x13)]
	switch {
	case i == nil:
		return nil, "invite not found", nil
	case i.to != l.user:
		return nil, "not recipient of this invite", nil
	case m.chats[i.chat] == nil:
		return nil, "db error", nil
	}
	delete(m.invites, i.id)
	if len(q.Fields[0x35]) == 1 && q.Fields[0x35][0] == 1 {
		c := m.chats[i.chat]
		c.Members[l.user] = &Member{Permissions: User}
		m.say(c, nil, system(1, l.user, i.from))
	}
	return nil, "", nil
}

func (m *Mediator) author() string {
	key := m.Key()
	return string(key[:])
}

// system makes the blob of an event about users.
func system(event byte, users ...string) []byte {
	b := []byte{event}
	for _, u := range users {
		b = append(b, u...)
	}
	return append(b, random()...)
}

func random() []byte {
	b := make([]byte, 32)
	_, _ = rand.Read(b)
	return b
}

func guidOf(b []byte) int64 {
	return int64(binary.BigEndian.Uint64(b)>>1) + 1 //nolint:gosec // of a test
}
