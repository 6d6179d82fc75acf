// SPDX-License-Identifier: MPL-2.0

package mediatorserver_test

import (
	"bytes"
	_ "embed"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mimird/mimird/actors/overlay"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/mediator"
	"github.com/mimird/mimird/test/phone"
	"github.com/mimird/mimird/test/virtual"
)

//go:embed testdata/session.txt
var recorded string

// recordedFrame is a line of the recorded session.
type recordedFrame struct {
	client  string
	request bool
	bytes   []byte
	size    int // of the frame before it was shortened
}

// differences are answers of ours that are not those of the reference, by the number of
// the request.
var differences = map[int]string{
	55:  "the reference ends the connection that logs in twice",
	349: "only an owner changes an owner",
}

// missing are pushes of the reference that ours does not send, by the number of the frame.
var missing = map[int]string{
	354: "of the change that was refused", 412: "(same)",
	312: "a profile to a member who may only read",
	508: "to a member who left over another connection",
}

// ends are the frames at which clients of the recording ended.
var ends = map[int]string{402: "bob 2nd device", 508: "carol 2nd device"}

// replay sends the requests of the recorded session to our mediator and compares.
type replay struct {
	*rig
	recordedKey []byte
	seeds       map[string]phone.Identity // by public key
	nodes       map[string]overlay.Carrier
	clients     map[string]*client
	// nonces, chats and guids of the recording, and ours in their place.
	nonces, chats, guids map[string][]byte

	reference, ours map[string][]string // pushes of each client
	counted         map[string]int      // how many pushes of ours are in ours
}

// TestMediator_RecordedSession_SameAnswersAndPushes has every command, every tag and nearly
// every text.
func TestMediator_RecordedSession_SameAnswersAndPushes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &replay{
			rig: newRig(t), seeds: make(map[string]phone.Identity), nodes: make(map[string]overlay.Carrier), clients: make(map[string]*client),
			nonces: make(map[string][]byte), chats: make(map[string][]byte), guids: make(map[string][]byte),
			reference: make(map[string][]string), ours: make(map[string][]string), counted: make(map[string]int),
		}
		frames := r.load()
		r.offset.Store(int64(time.Until(time.Unix(1_795_979_500, 0))))
		for i, f := range frames {
			switch {
			case ends[i] != "": // which the recording shows only by what it lacks
				r.collect(ends[i])
				r.clients[ends[i]].Close()
			case f.request && len(f.bytes) == 2:
				r.connect(f)
			case f.request:
				r.request(i, f, answerTo(frames, i))
			case len(f.bytes) > 0 && f.bytes[0] == 2:
				r.learn(f)
				if missing[i] == "" {
					r.reference[f.client] = append(r.reference[f.client], r.normal(phoneFrame(f), false))
				}
			}
		}
		virtual.Sleep(time.Second)
		for name := range r.clients {
			r.collect(name)
		}
		for name := range r.clients {
			lacks, more := diff(r.reference[name], r.ours[name]), diff(r.ours[name], r.reference[name])
			if len(lacks)+len(more) > 0 {
				t.Errorf("%s was not pushed\n%s\nand was pushed\n%s", name, strings.Join(lacks, "\n"), strings.Join(more, "\n"))
			}
		}
	})
}

// diff returns what is in a more often than in b.
func diff(a, b []string) (more []string) {
	b = slices.Clone(b)
	for _, s := range a {
		if i := slices.Index(b, s); i >= 0 {
			b = slices.Delete(b, i, i+1)
			continue
		}
		more = append(more, s)
	}
	return more
}

func (r *replay) load() (frames []recordedFrame) {
	for line := range strings.Lines(recorded) {
		line = strings.TrimSuffix(line, "\n")
		if strings.HasPrefix(line, "#") {
			continue
		}
		if words := strings.Fields(line); words[0] == "mediator" {
			r.recordedKey = unhex(r.t, words[1])
			continue
		} else if words[0] == "seed" {
			who := phone.NewIdentity([32]byte(unhex(r.t, words[2])))
			key := who.Key()
			r.seeds[string(key[:])] = who
			continue
		}
		columns := strings.Split(line, "\t")
		f := recordedFrame{client: columns[0], request: columns[1] == ">", bytes: unhex(r.t, columns[2])}
		if f.size = len(f.bytes); columns[3] != "" {
			f.size, _ = strconv.Atoi(columns[3])
		}
		f.bytes = append(f.bytes, make([]byte, f.size-len(f.bytes))...)
		frames = append(frames, f)
	}
	return frames
}

func phoneFrame(f recordedFrame) phone.MediatorFrame {
	return phone.MediatorFrame{Status: f.bytes[0], ID: binary.BigEndian.Uint16(f.bytes[1:]), Body: f.bytes[7:]}
}

// answerTo is the recorded answer to a request.
func answerTo(frames []recordedFrame, i int) *recordedFrame {
	for j := i + 1; j < len(frames); j++ {
		f := &frames[j]
		if f.client == frames[i].client && !f.request && len(f.bytes) > 0 && f.bytes[0] != 2 && bytes.Equal(f.bytes[1:3], frames[i].bytes[1:3]) {
			return f
		}
	}
	return nil
}

// node returns the node that a client of the recording used.
func (r *replay) node(client string) overlay.Carrier {
	if strings.HasSuffix(client, "alice's node") {
		client = "alice"
	}
	client = strings.TrimSuffix(client, " again, same node")
	if r.nodes[client] == nil {
		r.nodes[client] = r.device()
	}
	return r.nodes[client]
}

func (r *replay) connect(f recordedFrame) {
	if before := r.clients[f.client]; before != nil {
		r.collect(f.client)
		delete(r.counted, f.client)
		before.Close()
	}
	r.clients[f.client] = r.dialFrom(r.node(f.client))
}

// request sends a request with what our mediator has given in place of what the recording
// has.
func (r *replay) request(i int, f recordedFrame, want *recordedFrame) {
	fine := want != nil && want.bytes[0] == 0
	fields := phone.MediatorFrame{Body: f.bytes[7:]}.Fields()
	if want == nil && i != 55 {
		r.t.Fatalf("frame %d has no answer", i)
	}
	body := f.bytes[7:]
	if fields != nil {
		body = r.substitute(f.bytes[0], fields, fine)
	}
	got, err := r.clients[f.client].CallRaw(r.t.Context(), f.bytes[0], body)
	if err != nil {
		r.t.Fatalf("frame %d, %s: %v", i, f.client, err)
	}
	if differences[i] != "" {
		if i == 349 {
			if got.Refusal() != "cannot modify owner permissions" {
				r.t.Errorf("frame %d: status %d %s", i, got.Status, got.Refusal())
			}
			r.demoteOwner(fields)
		}
		return
	}
	if fine {
		r.learnAnswer(f, *want, got)
	}
	if want.size != 5232 || got.Status != 0 { // one was shortened
		if a, b := r.normal(phoneFrame(*want), false), r.normal(got, true); a != b {
			r.t.Errorf("frame %d, %s, command %02x: got\n%s\nwant\n%s", i, f.client, f.bytes[0], b, a)
		}
	}
}

// demoteOwner does what the reference let a moderator do, so that the session goes on in
// the same state.
func (r *replay) demoteOwner(fields []phone.TLV) {
	key := identity.PublicKey(r.key.Key())
	do[store.MediatorMessage](r.rig, store.AddMediatorMember{
		MediatorChange: store.MediatorChange{Mediator: key, Actor: key, Group: mediator.ChatID(binary.BigEndian.Uint64(fields[0].Value))},
		User:           identity.PublicKey(fields[1].Value),
	})
}

func (r *replay) substitute(command byte, fields []phone.TLV, fine bool) []byte {
	var who phone.Identity
	var nonce []byte
	for i, field := range fields {
		swap := map[byte]map[string][]byte{nonceTag: r.nonces, chatID: r.chats, guid: r.guids}[field.Tag]
		if ours, ok := swap[string(field.Value)]; ok {
			fields[i].Value = ours
		}
		switch field.Tag {
		case pubkey:
			who = r.seeds[string(field.Value)]
		case nonceTag:
			nonce = fields[i].Value
		}
	}
	for i, field := range fields {
		if field.Tag == signature && fine && command == auth {
			fields[i].Value = who.Sign(nonce)
		}
		if field.Tag == counter && fine {
			n, signed := who.ProofOfWork(nonce)
			fields[i].Value = binary.BigEndian.AppendUint32(nil, n)
			for j := range fields {
				if fields[j].Tag == signature {
					fields[j].Value = signed
				}
			}
			break
		}
	}
	return phone.EncodeTLVs(fields...)
}

// learnAnswer notes what our mediator has given in place of what the recording has.
func (r *replay) learnAnswer(f, want recordedFrame, got phone.MediatorFrame) {
	switch f.bytes[0] {
	case getNonce:
		r.nonces[string(phoneFrame(want).Get(nonceTag))] = got.Get(nonceTag)
	case createChat:
		r.chats[string(phoneFrame(want).Get(chatID))] = got.Get(chatID)
	}
}

// learn notes the guid that our mediator has given to an event that was pushed.
func (r *replay) learn(f recordedFrame) {
	want := phoneFrame(f)
	if want.ID != gotMessage || !bytes.Equal(want.Get(pubkey), r.recordedKey) || want.Number(messageID) == 0 {
		return
	}
	chat, ok := r.chats[string(want.Get(chatID))]
	if !ok {
		return
	}
	found, err := r.store.MediatorMessages(mediator.ChatID(binary.BigEndian.Uint64(chat)), mediator.MessageID(want.Number(messageID)-1), 1, 1<<20)
	if err != nil {
		r.t.Fatal(err)
	}
	if len(found) == 1 && uint64(found[0].ID) == want.Number(messageID) {
		r.guids[string(want.Get(guid))] = binary.BigEndian.AppendUint64(nil, uint64(found[0].GUID))
	}
}

// collect takes over the pushes that a client has got. What is under way arrives first.
func (r *replay) collect(name string) {
	virtual.Sleep(time.Millisecond)
	pushes := r.clients[name].Pushes()
	for _, f := range pushes[r.counted[name]:] {
		r.ours[name] = append(r.ours[name], r.normal(f, true))
	}
	r.counted[name] = len(pushes)
	// Presence is collected before it is sent, so there is less of it.
	for _, list := range []map[string][]string{r.ours, r.reference} {
		list[name] = slices.DeleteFunc(list[name], func(s string) bool { return strings.Contains(s, "MEMBER_ONLINE") })
	}
}

// normal writes a frame without what differs between two runs.
func (r *replay) normal(f phone.MediatorFrame, ours bool) string {
	if f.Status == 1 {
		return "refused: " + f.Refusal()
	}
	fields := f.Fields()
	if fields == nil {
		return fmt.Sprintf("%d %x", f.Status, f.Body)
	}
	author := r.recordedKey
	if ours {
		key := r.key.Key()
		author = key[:]
	}
	byMediator := func(i int) bool { // the record of the field
		for _, field := range fields[i:] {
			if field.Tag == pubkey {
				return bytes.Equal(field.Value, author)
			}
		}
		return false
	}
	var records []string
	line := ""
	for i, field := range fields {
		text := hex.EncodeToString(field.Value)
		switch field.Tag {
		case nonceTag:
			text = "nonce"
		case chatID:
			text = r.chatName(field.Value, ours)
		case guid:
			if byMediator(i) {
				text = "of an event"
			}
		case timestamp, lastUpdate, lastSeen:
			text = r.time(field)
		case pubkey:
			if bytes.Equal(field.Value, author) {
				text = "mediator"
			}
		case blob:
			if i > 0 && fields[i-1].Tag == pubkey && bytes.Equal(fields[i-1].Value, author) {
				text = r.event(field.Value, ours)
			}
			if len(text) > 20_000 {
				text = text[:300] // the recording has no more of it
			}
		}
		if field.Tag == userKey || field.Tag == messageID && f.Status == 0 {
			records = append(records, line)
			line = ""
		}
		line += fmt.Sprintf(" %02x:%s", field.Tag, text)
	}
	slices.Sort(records)
	code := ""
	if f.Status == 2 {
		code = fmt.Sprintf(" push %02x", f.ID)
	}
	return strings.Join(append(records, line), "") + code
}

func (r *replay) chatName(chat []byte, ours bool) string {
	for theirs, mine := range r.chats {
		if ours && bytes.Equal(chat, mine) || !ours && theirs == string(chat) {
			return "chat " + hex.EncodeToString([]byte(theirs))
		}
	}
	return hex.EncodeToString(chat)
}

// time tells moments of the run from others. When somebody was seen last depends on how
// connections ended.
func (r *replay) time(field phone.TLV) string {
	if field.Tag == lastSeen {
		return "seen"
	}
	n := int64(binary.BigEndian.Uint64(field.Value))
	if n > 1_795_979_000 && n < 1_795_981_000 || n >= r.now().Unix()-3600 && n <= r.now().Unix() {
		return "now"
	}
	return strconv.FormatInt(n, 10)
}

// event writes an event without its random bytes.
func (r *replay) event(b []byte, ours bool) string {
	switch b[0] {
	case 1, 3, 4, 5, 7:
		return hex.EncodeToString(b[:len(b)-32])
	case 8:
		guid := binary.BigEndian.Uint64(b[1:])
		for theirs, mine := range r.guids {
			if ours && bytes.Equal(b[1:9], mine) {
				guid = binary.BigEndian.Uint64([]byte(theirs))
			}
		}
		return fmt.Sprintf("08 %x %x", guid, b[9:])
	case 9:
		return "MEMBER_ONLINE"
	}
	// A name that is not UTF-8 is cleaned by ours.
	return strings.Replace(hex.EncodeToString(b), "2002fffe", "2003efbfbd", 1)
}
