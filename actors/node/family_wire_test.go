// SPDX-License-Identifier: MPL-2.0

package node_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mimird/mimird/actors/transfer"

	"github.com/mimird/mimird/actors/actorstest"
	"github.com/mimird/mimird/actors/node"
	"github.com/mimird/mimird/actors/overlay"
	"github.com/mimird/mimird/actors/overlay/memnet"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/test/phone"
	"github.com/mimird/mimird/test/virtual"
)

// wireFamily is a node with two accounts, and a device that speaks to them frame by
// frame, in the names of two contacts of both.
type wireFamily struct {
	t        *testing.T
	n        *actorstest.Node
	accounts []identity.PublicKey
	people   []phone.Identity
	device   *memnet.Node
}

func wireUp(t *testing.T) *wireFamily {
	t.Helper()
	w := actorstest.New(t, memnet.Options{})
	n, _ := w.Owner()
	f := &wireFamily{t: t, n: n, device: w.Net.Node(overlay.Limits{}), accounts: []identity.PublicKey{n.Account.ID}}
	t.Cleanup(func() { _ = f.device.Close() })
	other, err := n.CreateAccount(t.Context(), "other")
	if err != nil {
		t.Fatal(err)
	}
	f.accounts = append(f.accounts, other.ID)
	for _, name := range []string{"bob", "carol"} {
		id := phone.IdentityOf(name)
		f.people = append(f.people, id)
		for _, a := range f.accounts {
			if _, err := n.AddContact(t.Context(), a, identity.Link{Key: identity.PublicKey(id.Key())}); err != nil {
				t.Fatal(err)
			}
		}
	}
	return f
}

func (f *wireFamily) line(role byte) *phone.Line {
	f.t.Helper()
	l, err := phone.DialLine(f.t.Context(), f.device, f.n.Key())
	if err == nil {
		_, err = l.Write([]byte{role})
	}
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(l.Abort)
	return l
}

// handshake tries to open a session of a person with an account.
func (f *wireFamily) handshake(person, account int) (*phone.Line, error) {
	l := f.line(phone.RoleControl)
	h := &phone.Handshake{Identity: f.people[person], Receiver: phone.Key(f.accounts[account])}
	return l, h.Initiate(l)
}

// session opens a session of a person with an account, and waits until the node has it.
func (f *wireFamily) session(person, account int) *phone.Line {
	f.t.Helper()
	l, err := f.handshake(person, account)
	if err != nil {
		f.t.Fatal(err)
	}
	f.n.Eventually("the session is live", func() bool {
		return f.n.Presence(f.accounts[account], identity.PublicKey(f.people[person].Key())).Online
	})
	synctest.Wait()
	return l
}

// data opens a data stream.
func (f *wireFamily) data() *phone.Line {
	f.t.Helper()
	l := f.line(phone.RoleData)
	virtual.Sleep(time.Second)
	synctest.Wait()
	return l
}

func (f *wireFamily) heard(person, account int) []string {
	f.t.Helper()
	page, err := f.n.Messages(f.accounts[account], identity.PublicKey(f.people[person].Key()), 0, 1000)
	if err != nil {
		f.t.Fatal(err)
	}
	var texts []string
	for _, m := range slices.Backward(page) {
		if m.ID.Dir == store.In {
			texts = append(texts, string(m.Payload))
		}
	}
	return texts
}

// nobodyHeard checks that nothing was stored, for no account and in nobody's name.
func (f *wireFamily) nobodyHeard() {
	f.t.Helper()
	synctest.Wait()
	for a := range f.accounts {
		for p := range f.people {
			if texts := f.heard(p, a); len(texts) > 0 {
				f.t.Errorf("account %d has from person %d: %s", a, p, actorstest.Brief(texts))
			}
		}
	}
}

// large is a message that goes over a data stream.
func large(guid phone.GUID) phone.Message {
	return phone.Message{GUID: guid, SendTime: 1_700_000_000_000, Payload: bytes.Repeat([]byte("x"), 120_000)}
}

// ended checks that the node ends a line, whatever came before.
func ended(t *testing.T, what string, l *phone.Line) {
	t.Helper()
	if _, err := l.Drain(time.Second); err != nil {
		t.Errorf("%s: %v", what, err)
	}
}

// stays checks that a line is not ended.
func stays(t *testing.T, what string, l *phone.Line, during time.Duration) {
	t.Helper()
	if b, err := l.Drain(during); err == nil {
		t.Errorf("%s was ended after %d bytes", what, len(b))
	}
}

// twoPairs are the ways in which two pairs are at one node: two accounts with one
// contact, and two contacts of one account.
var twoPairs = map[string][2][2]int{ // {person, account} each
	"two accounts": {{0, 0}, {0, 1}},
	"two contacts": {{0, 0}, {1, 0}},
	"both":         {{0, 0}, {1, 1}},
}

// A frame on a data stream that met two sessions is nobody's: it is not given to the
// newest, nor to any. Text and inline files alike.
func TestDataStream_MetTwoPairs_IsReset(t *testing.T) {
	inline := phone.Message{GUID: 3, Type: phone.File, Payload: phone.Attachment{Name: "x.bin", Size: 3 << 20}.Inline(pattern(3<<20, 7))}
	for name, pairs := range twoPairs {
		for kind, m := range map[string]phone.Message{"text": large(1), "file": inline} {
			t.Run(name+", "+kind, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					f := wireUp(t)
					first, second := pairs[0], pairs[1]
					a := f.session(first[0], first[1])
					b := f.session(second[0], second[1])
					data := f.data()
					stays(t, "the stream without a frame", data, 30*time.Second)
					_, _ = data.Write(m.Data()) // is cut off
					ended(t, "the stream", data)
					ended(t, "the first session", a)
					ended(t, "the second session", b)
					f.nobodyHeard()
				})
			})
		}
	}
}

// A data stream that met two sessions is not given to the one that is left.
func TestDataStream_OneOfTwoPairsLeft_IsReset(t *testing.T) {
	for name, pairs := range twoPairs {
		for left := range pairs {
			t.Run(name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					f := wireUp(t)
					var lines [2]*phone.Line
					for i, p := range pairs {
						lines[i] = f.session(p[0], p[1])
					}
					data := f.data()
					lines[1-left].Close()
					virtual.Sleep(30 * time.Second) // pings are not answered, the session lives for a minute
					_, _ = data.Write(large(1).Data())
					ended(t, "the stream", data)
					ended(t, "the session that was left", lines[left])
					f.nobodyHeard()
				})
			})
		}
	}
}

// A data stream that was opened before the second session, and not given to the first
// yet, has met both.
func TestDataStream_SecondHandshakeMeanwhile_IsReset(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := wireUp(t)
		// The node has answered the second challenge, the final OK is missing.
		half := f.line(phone.RoleControl)
		h := &phone.Handshake{Identity: f.people[0], Receiver: phone.Key(f.accounts[0]), Gate: phone.Before(phone.TypeOK)}
		if err := h.Initiate(half); !errors.Is(err, phone.ErrStopped) {
			t.Fatal(err)
		}
		data := f.data()
		second := f.session(0, 1)
		_, _ = data.Write(large(1).Data())
		ended(t, "the stream", data)
		ended(t, "the second session", second)
		f.nobodyHeard()
	})
}

// A data stream may be the straggler of a session that has just ended; later it
// cannot be.
func TestDataStream_AfterAnotherSession(t *testing.T) {
	for after, given := range map[time.Duration]bool{5 * time.Second: false, time.Minute: true} {
		t.Run(after.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := wireUp(t)
				f.session(0, 0).Close()
				virtual.Sleep(after)
				f.session(0, 1)
				data := f.data()
				_, _ = data.Write(large(1).Data())
				virtual.Sleep(time.Minute)
				if got := len(f.heard(0, 1)); got != 0 != given || len(f.heard(0, 0)) != 0 {
					t.Errorf("%d messages, given %v", got, given)
				}
			})
		})
	}
}

// Several sessions of one pair are ordinary: dials cross, and a phone comes back that
// has lost its session.
func TestDataStream_TwoSessionsOfOnePair_IsGiven(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := wireUp(t)
		dead := f.session(0, 0) // does not answer the node's ping
		live, err := f.handshake(0, 0)
		if err != nil {
			t.Fatal(err)
		}
		data := f.data()
		if _, err := data.Write(large(1).Data()); err != nil {
			t.Fatal(err)
		}
		f.n.Eventually("the message", func() bool { return len(f.heard(0, 0)) == 1 })
		ended(t, "the dead session", dead)
		stays(t, "the live session", live, 20*time.Second)
	})
}

// After a data stream could not be attributed, the node key gets one pair at a time:
// the other's handshake is left unanswered, and answered when the first is quiet. After
// some minutes both have sessions again.
func TestDataStream_AfterReset_OnePairAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := wireUp(t)
		f.session(0, 0)
		f.session(0, 1)
		data := f.data()
		_, _ = data.Write(large(1).Data())
		ended(t, "the stream", data)
		virtual.Sleep(time.Minute)
		for account := range f.accounts {
			var l *phone.Line
			f.n.EventuallyWithin(2*time.Minute, "the handshake", func() bool {
				var err error
				l, err = f.handshake(0, account)
				return err == nil
			})
			if other, err := f.handshake(0, 1-account); err == nil {
				t.Error("both have a session")
			} else {
				other.Abort()
			}
			data := f.data()
			if _, err := data.Write(large(phone.GUID(10 + account)).Data()); err != nil {
				t.Fatal(err)
			}
			f.n.Eventually("the message", func() bool { return len(f.heard(0, account)) == 1 })
			_ = l
		}
		virtual.Sleep(10 * time.Minute)
		f.session(0, 0)
		f.session(0, 1)
	})
}

// A peer that opens data streams without end holds few: two for each of its sessions,
// and none without one.
func TestDataStream_Flood_IsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := wireUp(t)
		ended(t, "a stream without a session", f.data())
		f.session(0, 0)
		f.session(0, 1)
		var lines []*phone.Line
		for range 6 {
			lines = append(lines, f.data())
		}
		open := 0
		for _, l := range lines {
			if _, err := l.Drain(time.Second); err != nil {
				open++
			}
		}
		if open != 4 {
			t.Errorf("%d streams are held, want 4", open)
		}
	})
}

// With sessions of several pairs at a node its texts go over the control stream, and
// no data stream is opened to it.
func TestSender_SharedNode_ControlStreamOnly(t *testing.T) {
	families(t, func(t *testing.T, f *actorstest.Family) {
		f.Each(func(a, p int) { f.PhoneSays(a, p, 10) })
		f.Settle(30 * time.Minute)
		f.Each(func(a, p int) { f.NodeSays(a, p, 1<<20) })
		f.Settle(10 * time.Minute)
		f.CheckOnce()
		f.Each(func(a, p int) {
			if n := f.Phones[p].Page(phone.Key(f.Accounts[a])).Counts[phone.TypeMessage]; n != 1 {
				t.Errorf("%d messages on the control stream of account %d and phone %d", n, a, p)
			}
		})
	})
}

// A text above 1 MiB, which older versions took, never takes the control stream: it
// waits for the node as a file does.
func TestSender_SharedNode_TextAboveLimitWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := actorstest.New(t, memnet.Options{})
		f := w.NewFamily(2, 1, phone.Android())
		f.Each(func(a, p int) { f.PhoneSays(a, p, 10) })
		f.Settle(30 * time.Minute)
		f.Each(func(a, p int) {
			text := actorstest.TextOf("to the phone", a, p, 1<<20+1)
			f.NodeSaid(a, p, text)
			if _, err := f.Node.EnqueueForTest(t.Context(), node.Outgoing{Account: f.Accounts[a], Contact: f.Contact(p), Payload: []byte(text)}); err != nil {
				t.Fatal(err)
			}
			f.NodeSays(a, p, 20)
		})
		f.Settle(10 * time.Minute)
		f.CheckOnce()
		f.Each(func(a, p int) {
			if n := f.Phones[p].Page(phone.Key(f.Accounts[a])).Counts[phone.TypeMessage]; n != 1 {
				t.Errorf("%d messages on the control stream of account %d, want 1", n, a)
			}
		})
	})
}

// A file that a contact asks for, larger than 64 KiB, waits until its session is the
// only one with the node. It comes from the right account, and once.
func TestSender_SharedNode_FileWaitsForTheNode(t *testing.T) {
	for name, q := range map[string]phone.Quirks{"phone": {}, "app": phone.Android()} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := actorstest.New(t, memnet.Options{Link: memnet.Link{Delay: 30 * time.Millisecond}})
				carrier := w.Net.Node(overlay.Limits{})
				t.Cleanup(func() { _ = carrier.Close() })
				server := phone.ServeFiles(t, carrier, phone.FileFaults{})
				f := w.NewFamily(2, 2, q, func(o *node.Options) { o.Media = transfer.Options{Server: server.Key()} })
				f.Each(func(a, p int) { f.PhoneSays(a, p, 10) })
				f.Settle(30 * time.Minute)
				var offers []store.Message
				var data [][]byte
				for a, account := range f.Accounts {
					data = append(data, pattern(200_000, byte(a)))
					m, err := f.Node.SendFile(t.Context(), node.OutgoingFile{
						Account: account, Contact: f.Contact(0), Body: bytes.NewReader(data[a]), Name: "file.bin",
					})
					if err != nil {
						t.Fatal(err)
					}
					offers = append(offers, m)
				}
				f.Settle(time.Hour)
				for a, account := range f.Accounts {
					sum := sha256.Sum256(data[a])
					err := f.Phones[0].Session(phone.Key(account)).Send(phone.Frame{Type: phone.TypeFileRequest, Fields: phone.Fields{
						"guid": offers[a].ID.GUID, "name": "file.bin", "hash": hex.EncodeToString(sum[:]),
					}})
					if err != nil {
						t.Fatal(err)
					}
				}
				start := time.Now()
				f.Node.EventuallyWithin(10*time.Minute, "both files", func() bool {
					return len(f.Phones[0].Page(phone.Key(f.Accounts[0])).Files) > 0 && len(f.Phones[0].Page(phone.Key(f.Accounts[1])).Files) > 0
				})
				t.Logf("after %v", time.Since(start))
				virtual.Sleep(5 * time.Minute)
				for a, account := range f.Accounts {
					files := f.Phones[0].Page(phone.Key(account)).Files
					if len(files) != 1 || !bytes.HasSuffix(files[0].Payload, data[a]) || int64(files[0].GUID) != offers[a].ID.GUID {
						t.Errorf("account %d: %d files, not the one that was asked for", a, len(files))
					}
					if files := f.Phones[1].Page(phone.Key(account)).Files; len(files) != 0 {
						t.Errorf("%d files for the other phone", len(files))
					}
				}
			})
		})
	}
}

// A file is on its way to a phone when another stream of the phone cannot be attributed
// and all sessions with it end: the next one sends the file, without being asked again.
func TestSender_SharedNode_FileCutByAConflict(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := actorstest.New(t, memnet.Options{Link: memnet.Link{Delay: 30 * time.Millisecond, Rate: 64 << 10}})
		carrier := w.Net.Node(overlay.Limits{})
		t.Cleanup(func() { _ = carrier.Close() })
		server := phone.ServeFiles(t, carrier, phone.FileFaults{})
		f := w.NewFamily(2, 1, phone.Android(), func(o *node.Options) { o.Media = transfer.Options{Server: server.Key()} })
		data := pattern(6_000_000, 1) // takes a minute and a half
		m, err := f.Node.SendFile(t.Context(), node.OutgoingFile{
			Account: f.Accounts[0], Contact: f.Contact(0), Body: bytes.NewReader(data), Name: "file.bin",
		})
		if err != nil {
			t.Fatal(err)
		}
		f.Settle(time.Hour)
		sum := sha256.Sum256(data)
		err = f.Phones[0].Session(phone.Key(f.Accounts[0])).Send(phone.Frame{Type: phone.TypeFileRequest, Fields: phone.Fields{
			"guid": m.ID.GUID, "name": "file.bin", "hash": hex.EncodeToString(sum[:]),
		}})
		if err != nil {
			t.Fatal(err)
		}
		virtual.Sleep(30 * time.Second)
		ended := f.Phones[0].Page(phone.Key(f.Accounts[0])).Ended
		f.PhoneSays(1, 0, 120_000)
		f.Node.EventuallyWithin(15*time.Minute, "the file", func() bool {
			return len(f.Phones[0].Page(phone.Key(f.Accounts[0])).Files) > 0
		})
		f.Settle(15 * time.Minute)
		page := f.Phones[0].Page(phone.Key(f.Accounts[0]))
		if page.Ended == ended {
			t.Error("no session has ended, so nothing was cut")
		}
		if len(page.Files) != 1 || !bytes.HasSuffix(page.Files[0].Payload, data) {
			t.Errorf("%d files, not the one that was asked for", len(page.Files))
		}
		if texts := f.Heard(1, 0); len(texts) != 1 {
			t.Errorf("the other account has %s", actorstest.Brief(texts))
		}
	})
}

// Files that accounts ask a phone for, and files inside of messages, come on data
// streams as well: each is filed under the message and the account that it is for.
func TestDataStream_FilesOfAFamily(t *testing.T) {
	const size = 200_000
	families(t, func(t *testing.T, f *actorstest.Family) {
		f.Each(func(a, p int) { f.PhoneSays(a, p, 10) })
		f.Settle(30 * time.Minute)
		type file struct {
			id   store.MessageID
			data []byte
			// meta is what the phone sends with the file when it is asked for it.
			meta phone.Attachment
		}
		files := make(map[[2]int][]file)
		f.Each(func(a, p int) {
			key := phone.Key(f.Accounts[a])
			inside := pattern(size, byte(10*a+p))
			guid := f.Phones[p].Post(key, phone.Message{Type: phone.File, Payload: phone.Attachment{Name: "inside.bin", Size: size}.Inline(inside)})
			files[[2]int{a, p}] = append(files[[2]int{a, p}], file{id: store.MessageID{Dir: store.In, GUID: int64(guid)}, data: inside})

			asked := pattern(size, byte(100+10*a+p))
			sum := sha256.Sum256(asked)
			meta := phone.Attachment{Name: "asked.bin", Size: size, Hash: hex.EncodeToString(sum[:])}
			guid = f.Phones[p].Post(key, phone.Message{Type: phone.File, Payload: meta.Payload()})
			files[[2]int{a, p}] = append(files[[2]int{a, p}], file{store.MessageID{Dir: store.In, GUID: int64(guid)}, asked, meta})
		})
		answered := make(map[[2]int]int)
		f.Node.EventuallyWithin(3*time.Hour, "all files", func() bool {
			done := true
			f.Each(func(a, p int) {
				key := phone.Key(f.Accounts[a])
				requests := f.Phones[p].Page(key).Of(phone.TypeFileRequest)
				asked := files[[2]int{a, p}][1]
				if n := answered[[2]int{a, p}]; len(requests) > n {
					answered[[2]int{a, p}]++
					if s := f.Phones[p].Session(key); s != nil {
						// It may fail, with its session; then the node asks again.
						_ = s.Answer(phone.Message{GUID: phone.GUID(asked.id.GUID), SendTime: 1, Type: phone.FileResponse, Payload: asked.meta.Inline(asked.data)})
					}
				}
				for _, file := range files[[2]int{a, p}] {
					info, err := f.Node.MediaState(f.Accounts[a], f.Contact(p), file.id)
					done = done && err == nil && info.State == store.MediaStored
				}
			})
			return done
		})
		f.Each(func(a, p int) {
			for _, file := range files[[2]int{a, p}] {
				info, err := f.Node.MediaState(f.Accounts[a], f.Contact(p), file.id)
				if err != nil || info.Hash != sha256.Sum256(file.data) {
					t.Errorf("account %d, phone %d: not the file of the message, %v", a, p, err)
				}
			}
		})
		f.Settle(time.Hour)
		f.Each(func(a, p int) {
			if n := len(f.Heard(a, p)); n != 3 {
				t.Errorf("account %d has %d messages from phone %d, want 3", a, n, p)
			}
		})
	})
}
