// SPDX-License-Identifier: MPL-2.0

package mediatorserver_test

import (
	"bufio"
	_ "embed"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mimird/mimird/actors/mediatorserver"
	"github.com/mimird/mimird/actors/overlay"
	"github.com/mimird/mimird/proto/mediator"
	"github.com/mimird/mimird/proto/peer"
	"github.com/mimird/mimird/test/phone"
	"github.com/mimird/mimird/test/virtual"
)

//go:embed testdata/vectors.json
var vectors []byte

// TestMediator_Vectors_TakenInForm sends the requests of the vectors, byte for byte: what
// they are refused with is what they say, not how they say it.
func TestMediator_Vectors_TakenInForm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var all []struct{ Name, Output string }
		if err := json.Unmarshal(vectors, &all); err != nil {
			t.Fatal(err)
		}
		want := map[string]string{
			"get-nonce": "", "auth": "nonce mismatch", "ping": "", "create-chat": "keys mismatch",
			"subscribe": "", "send-message": "", "get-messages-since": "", "send-invite": "", "invite-response": "invite not found",
			"update-member-info": "", "delete-message": "", "change-member-status": "cannot modify own permissions", "update-chat-info-name-only": "",
		}
		r := newGroups(t)
		a := r.in(alice)
		a.ok(getNonce, phone.TLV{Tag: pubkey, Value: unhex(t, "03a107bff3ce10be1d70dd18e74bc09967e4d6309ba50d5f1ddc8664125531b8")})
		for _, v := range all {
			text, request := want[v.Name]
			if !request {
				continue
			}
			delete(want, v.Name)
			b := unhex(t, v.Output)
			body := b[7:]
			if v.Name == "change-member-status" {
				body = phone.EncodeTLVs(role(alice, moderator)...)
			}
			f, err := a.CallRaw(t.Context(), b[0], body)
			if err != nil {
				t.Fatal(err)
			}
			if f.Refusal() != text {
				t.Errorf("%s: refused with %q, want %q", v.Name, f.Refusal(), text)
			}
		}
		if len(want) > 0 {
			t.Errorf("no vector for %v", want)
		}
	})
}

// TestMediator_FanOut_EachGetsEachOnceInOrder is with as many as the bench.
func TestMediator_FanOut_EachGetsEachOnceInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const subscribers, senders, each = 500, 4, 25
		r := newGroups(t)
		var all []*client
		for i := range subscribers {
			all = append(all, r.in([]phone.Identity{bob, carol, dave}[i%3]))
		}
		var sending sync.WaitGroup
		for s := range senders {
			c := r.as(alice)
			sending.Go(func() {
				for i := range each {
					number := uint64(s*each + i)
					f, err := c.Call(t.Context(), sendMessage, phone.U64(chatID, groupA), phone.U64(guid, number), phone.U64(timestamp, 1), phone.TLV{Tag: blob, Value: []byte("x")})
					if err != nil || f.Status != 0 {
						t.Errorf("send: %v %s", err, f.Refusal())
					}
				}
			})
		}
		sending.Wait()
		virtual.Sleep(time.Second)
		for i, c := range all {
			var ids []uint64
			for _, f := range c.Pushes() {
				if f.ID == gotMessage && f.Number(messageID) > 0 {
					ids = append(ids, f.Number(messageID))
				}
			}
			if len(ids) != senders*each || !slices.IsSorted(ids) || len(slices.Compact(ids)) != senders*each {
				t.Fatalf("subscriber %d got %d messages: %v", i, len(ids), ids)
			}
		}
	})
}

// A subscriber that reads nothing is disconnected. The others are served meanwhile.
func TestMediator_SlowSubscriber_EndsAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newGroups(t)
		slow := r.silentClient(carol, groupA)
		a, d := r.in(alice), r.in(dave)
		large := strings.Repeat("x", 500_000)
		sent := 0
		for ; sent < 100 && !slow.ended(); sent++ {
			begun := time.Now()
			a.send(groupA, int64(sent), large)
			if took := time.Since(begun); took > 30*time.Second {
				t.Fatalf("message %d took %v", sent, took)
			}
		}
		if !slow.ended() {
			t.Fatal("it is still there")
		}
		virtual.Sleep(10 * time.Second)
		if got := len(d.texts(groupA)); got != sent {
			t.Errorf("another subscriber got %d of %d", got, sent)
		}
		status := mustStatus(r)
		if status.QueuedBytes != 0 || status.Clients != 2 {
			t.Errorf("left: %+v", status)
		}
	})
}

// Subscribers that do not read for a while get everything in order when they do, and others
// get it meanwhile.
func TestMediator_PausedSubscribers_GetAllInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newGroups(t)
		paused := []silentClient{r.silentClient(carol, groupA), r.silentClient(dave, groupB)}
		a, b := r.in(alice), r.in(bob)
		const messages = 600
		text := strings.Repeat("x", 5000)
		for i := range messages {
			a.send(groupA, int64(i+1), text)
			a.send(groupB, int64(i+1), text)
		}
		virtual.Sleep(time.Second)
		if gotA, gotB := len(b.texts(groupA)), len(b.texts(groupB)); gotA != messages || gotB != messages {
			t.Errorf("a subscriber that reads got %d and %d of %d", gotA, gotB, messages)
		}
		if mustStatus(r).QueuedBytes == 0 {
			t.Error("nothing is queued for those that do not read")
		}
		in := []*bufio.Reader{bufio.NewReader(paused[0].conn), bufio.NewReader(paused[1].conn)}
		read := func(first, last int) {
			var reading sync.WaitGroup
			for i, in := range in {
				reading.Go(func() {
					for number := first; number <= last; number++ {
						if got := nextMessage(t, in); got != peer.GUID(number) {
							t.Errorf("subscriber %d: message %d is %d", i, number, got)
							return
						}
					}
				})
			}
			reading.Wait()
		}
		read(1, messages)
		a.send(groupA, messages+1, text)
		a.send(groupB, messages+1, text)
		read(messages+1, messages+1)
	})
}

// nextMessage returns the guid of the next message of a member.
func nextMessage(t *testing.T, in *bufio.Reader) peer.GUID {
	for {
		answer, err := mediator.ReadAnswer(in, 1<<20)
		if err != nil {
			t.Error(err)
			return 0
		}
		push, err := answer.Push()
		if m, ok := push.(*mediator.GotMessage); ok && err == nil && m.Message.Time == 1000 {
			return m.Message.GUID
		}
	}
}

// silentClient is a client that logs in, subscribes, and reads nothing more.
type silentClient struct {
	conn overlay.Conn
}

func (r *rig) silentClient(who phone.Identity, chat uint64) silentClient {
	r.t.Helper()
	conn, err := r.device().Dial(r.t.Context(), r.key.Key(), phone.MediatorPort)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = conn.Abort() })
	key := who.Key()
	write := func(b ...byte) {
		if _, err := conn.Write(b); err != nil {
			r.t.Fatal(err)
		}
	}
	read := func(n int) []byte {
		b := make([]byte, n)
		for at := 0; at < n; {
			m, err := conn.Read(b[at:])
			if err != nil {
				r.t.Fatal(err)
			}
			at += m
		}
		return b
	}
	frame := func(command byte, fields ...phone.TLV) {
		body := phone.EncodeTLVs(fields...)
		write(append(binary.BigEndian.AppendUint32([]byte{command, 0, 1}, uint32(len(body))), body...)...)
	}
	write(1, 0)
	frame(getNonce, phone.TLV{Tag: pubkey, Value: key[:]})
	nonce := read(41)[9:]
	frame(auth, phone.TLV{Tag: pubkey, Value: key[:]}, phone.TLV{Tag: nonceTag, Value: nonce}, phone.TLV{Tag: signature, Value: who.Sign(nonce)})
	read(7)
	frame(subscribe, phone.U64(chatID, chat))
	read(17)
	return silentClient{conn}
}

// ended reports whether the mediator has ended the connection.
func (d silentClient) ended() bool {
	_, err := d.conn.Write([]byte{ping, 0, 2, 0, 0, 0, 0})
	return err != nil
}

func TestMediator_Connections_Bounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newGroups(t, func(r *rig) { r.opts.MaxConnections = 5 })
		var all []*client
		for range 5 {
			all = append(all, r.as(eve))
		}
		// It ends while the client writes its opening, or after that.
		if refused, err := phone.DialMediator(t.Context(), r.device(), r.key.Key()); err == nil {
			<-refused.Ended()
			refused.Close()
		} else if !errors.Is(err, overlay.ErrReset) {
			t.Error(err)
		}
		all[0].Close()
		virtual.Sleep(time.Second)
		r.in(alice)
	})
}

func TestMediator_QuietConnections_End(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newGroups(t)
		begun := time.Now()
		stranger, c, pinging := r.dial(), r.in(carol), r.in(dave)
		ended := func(c *client, from, to time.Duration) {
			t.Helper()
			<-c.Ended()
			if after := time.Since(begun); after < from || after > to {
				t.Errorf("ended after %v", after)
			}
		}
		ended(stranger, 30*time.Second, 35*time.Second)
		for range 5 {
			virtual.Sleep(50 * time.Second)
			pinging.ok(ping)
		}
		ended(c, 300*time.Second, 310*time.Second)
		pinging.ok(ping)
	})
}

func TestMediator_StrangersAndMalformedRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newGroups(t)
		// Other opening bytes.
		conn, err := r.device().Dial(t.Context(), r.key.Key(), phone.MediatorPort)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Write([]byte{2, 0, ping, 0, 1, 0, 0, 0, 0}); err != nil {
			t.Fatal(err)
		}
		if n, err := conn.Read(make([]byte, 1)); n != 0 || err == nil {
			t.Errorf("answered %d bytes, %v", n, err)
		}
		_ = conn.Abort()

		// A large request before the login is not read into memory, and answered.
		s := r.dial()
		s.refused("not authenticated", createChat, phone.TLV{Tag: chatAvatar, Value: make([]byte, 1<<20)})
		s.refused("auth required", sendMessage, phone.TLV{Tag: blob, Value: make([]byte, 1<<20)})
		s.refused("unknown cmd", 0x77)
		for _, test := range []struct {
			command byte
			body    []byte
			text    string
		}{
			{getNonce, []byte{0x01, 0x20}, "bad tlv payload"},
			{getNonce, phone.EncodeTLVs(phone.TLV{Tag: pubkey, Value: make([]byte, 31)}), "missing or invalid pubkey"},
			{auth, phone.EncodeTLVs(keyField(pubkey, eve)), "missing or invalid nonce"},
			{deleteChat, nil, "missing or invalid chat id"},
		} {
			if f, err := s.CallRaw(t.Context(), test.command, test.body); err != nil || f.Refusal() != test.text {
				t.Errorf("%02x %x: %q, %v, want %q", test.command, test.body, f.Refusal(), err, test.text)
			}
		}
		// A weak key has signatures that anybody can make.
		zero := make([]byte, 32)
		nonce := s.ok(getNonce, phone.TLV{Tag: pubkey, Value: zero}).Get(nonceTag)
		s.refused("invalid pubkey", auth, phone.TLV{Tag: pubkey, Value: zero}, phone.TLV{Tag: nonceTag, Value: nonce}, phone.TLV{Tag: signature, Value: make([]byte, 64)})

		// A payload beyond 51 MiB ends the connection.
		c := r.in(carol)
		if _, err := c.Send(sendMessage, nil); err != nil {
			t.Fatal(err)
		}
		raw := r.silentClient(dave, groupA)
		if _, err := raw.conn.Write([]byte{sendMessage, 0, 9, 3, 0x30, 0, 1}); err != nil {
			t.Fatal(err)
		}
		virtual.Sleep(time.Second)
		if !raw.ended() {
			t.Error("a request of more than 51 MiB does not end the connection")
		}
	})
}

// A login again from the same node ends the connection before, one from another node does
// not, nor one of another identity.
func TestMediator_LoginAgain_SameNodeReplaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newGroups(t)
		node := r.device()
		first := r.dialFrom(node)
		first.loginAs(carol)
		first.ok(subscribe, phone.U64(chatID, groupA))
		otherNode := r.in(carol)
		other := r.dialFrom(node)
		other.loginAs(dave)
		second := r.dialFrom(node)
		second.loginAs(carol)
		<-first.Ended()
		second.loginAs(carol) // over the same connection
		second.ok(subscribe, phone.U64(chatID, groupA))
		for _, c := range []*client{otherNode, other} {
			c.ok(ping)
		}
		// Another identity takes over neither the subscriptions.
		second.loginAs(eve)
		r.in(alice).send(groupA, 1, "text")
		virtual.Sleep(time.Second)
		second.wantTexts(groupA)
		otherNode.wantTexts(groupA, "text")
		second.refused("not a member or banned", lastID, phone.U64(chatID, groupA))
	})
}

// Messages that do not fit into one answer come with the next.
func TestMediator_History_LargeMessagesInPages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newGroups(t)
		a := r.in(alice)
		for i := range int64(12) {
			a.send(groupA, i, strings.Repeat(fmt.Sprint(i%10), 1<<20))
		}
		var got []uint64
		for since := uint64(3); ; { // behind the events
			f := a.ok(messagesSince, phone.U64(chatID, groupA), phone.U64(sinceID, since), phone.U32(limit, 500))
			if len(f.Body) > 8<<20 {
				t.Errorf("an answer of %d bytes", len(f.Body))
			}
			n := 0
			for _, field := range f.Fields() {
				if field.Tag == messageID {
					since = binary.BigEndian.Uint64(field.Value)
					got = append(got, since)
					n++
				}
			}
			if n == 0 {
				break
			}
		}
		if len(got) != 12 || !slices.IsSorted(got) {
			t.Errorf("ids %v", got)
		}
	})
}

// In a large group nobody is told of everybody's presence: ten thousand who come back
// after a restart do no harm.
func TestMediator_Presence_LargeGroupsAreQuiet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newGroups(t)
		const many = 1010
		node := r.device()
		var all []*client
		for i := range many {
			who := phone.IdentityOf(fmt.Sprint("member ", i))
			r.add(groupA, alice, who)
			c := r.dialFrom(node)
			c.loginAs(who)
			c.ok(subscribe, phone.U64(chatID, groupA))
			all = append(all, c)
			if i%250 == 249 {
				node = r.device()
			}
		}
		virtual.Sleep(10 * time.Second)
		before := len(all[0].Pushes())
		last := r.in(bob)
		all[1].Close()
		virtual.Sleep(10 * time.Second)
		if n := len(all[0].Pushes()) - before; n != 0 {
			t.Errorf("%d pushes about others", n)
		}
		last.await("own presence", event(9, bob))
		state := map[string]byte{}
		fields := last.ok(members, phone.U64(chatID, groupA)).Fields()
		for i, f := range fields {
			if f.Tag == userKey {
				state[string(f.Value)] = fields[i+2].Value[0]
			}
		}
		zero, one := all[0].who.Key(), all[1].who.Key()
		if len(state) != many+4 || state[string(zero[:])] != 1 || state[string(one[:])] != 0 {
			t.Errorf("%d members, %d %d", len(state), state[string(zero[:])], state[string(one[:])])
		}
	})
}

func mustStatus(r *rig) mediatorserver.Connections {
	r.t.Helper()
	s, err := mediatorserver.Status(r.t.Context(), r.ref)
	if err != nil {
		r.t.Fatal(err)
	}
	return s
}
