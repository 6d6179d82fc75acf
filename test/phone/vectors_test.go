// SPDX-License-Identifier: MPL-2.0

package phone

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/mimird/mimird/proto/identity"
)

// vector is one entry of a vector file. Inputs are kept as JSON.
type vector struct {
	Name   string          `json:"name"`
	Inputs json.RawMessage `json:"inputs"`
	Output json.RawMessage `json:"output"`
}

// vectors reads a file of the specification.
func vectors(t *testing.T, file string) map[string]vector {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", "vectors", file))
	if err != nil {
		t.Fatal(err)
	}
	var all struct{ Vectors []vector }
	if err := json.Unmarshal(b, &all); err != nil {
		t.Fatal(err)
	}
	byName := make(map[string]vector)
	for _, v := range all.Vectors {
		byName[v.Name] = v
	}
	return byName
}

// in decodes one input into out.
func (v vector) in(t *testing.T, name string, out any) {
	t.Helper()
	var all map[string]json.RawMessage
	if err := json.Unmarshal(v.Inputs, &all); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(all[name], out); err != nil {
		t.Fatalf("%s: input %s: %v", v.Name, name, err)
	}
}

func (v vector) text(t *testing.T, name string) (s string) {
	t.Helper()
	v.in(t, name, &s)
	return s
}

func (v vector) number(t *testing.T, name string) (n int64) {
	t.Helper()
	v.in(t, name, &n)
	return n
}

// bytes decodes an input in hex; null is nothing.
func (v vector) bytes(t *testing.T, name string) []byte {
	t.Helper()
	var s *string
	v.in(t, name, &s)
	if s == nil {
		return nil
	}
	return unhex(t, *s)
}

func (v vector) seed(t *testing.T, name string) Identity {
	t.Helper()
	return NewIdentity([32]byte(v.bytes(t, name)))
}

// out is the output when it is a string.
func (v vector) out(t *testing.T) (s string) {
	t.Helper()
	if err := json.Unmarshal(v.Output, &s); err != nil {
		t.Fatalf("%s: %v", v.Name, err)
	}
	return s
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Bar S26: every frame of the specification is written and read byte by byte.
func TestVectorsPeer(t *testing.T) {
	all := vectors(t, "peer.json")
	frame := func(f Frame) func(*testing.T, vector) []byte {
		return func(*testing.T, vector) []byte { return f.AppendTo(nil) }
	}
	challenge := func(typ Type, from string) func(*testing.T, vector) []byte {
		return func(t *testing.T, v vector) []byte {
			return Frame{Type: typ, Fields: Fields{"challenge": v.bytes(t, from)}}.AppendTo(nil)
		}
	}
	answer := func(typ Type) func(*testing.T, vector) []byte {
		return func(t *testing.T, v vector) []byte {
			return Frame{Type: typ, Fields: Fields{"answer": v.seed(t, "seed").Sign(v.bytes(t, "challenge"))}}.AppendTo(nil)
		}
	}
	ok := func(t *testing.T, v vector) []byte {
		return Frame{Type: TypeOK, Fields: Fields{"id": v.number(t, "id")}}.AppendTo(nil)
	}
	since := func(t *testing.T, v vector) []byte {
		return Frame{Type: TypeInfoRequest, Fields: Fields{"since": v.number(t, "since")}}.AppendTo(nil)
	}
	info := func(t *testing.T, v vector) []byte {
		return Frame{Type: TypeInfoResponse, Fields: Fields{
			"time": v.number(t, "time"), "nickname": v.text(t, "nickname"), "info": v.text(t, "info"), "avatar": v.bytes(t, "avatar"),
		}}.AppendTo(nil)
	}
	accepted := func(t *testing.T, v vector) []byte {
		var yes bool
		v.in(t, "accepted", &yes)
		return Frame{Type: TypeContactResponse, Fields: Fields{"accepted": yes}}.AppendTo(nil)
	}
	// A message is read from its JSON and written again in the style given.
	message := func(style headerStyle) func(*testing.T, vector) []byte {
		return func(t *testing.T, v vector) []byte {
			h, err := parseHeader([]byte(v.text(t, "json")))
			if err != nil {
				t.Fatal(err)
			}
			h.Payload = []byte(v.text(t, "payload"))
			if h.payloadSize != int64(len(h.Payload)) {
				t.Errorf("payloadSize %d, want %d", h.payloadSize, len(h.Payload))
			}
			f := h.frame(style)
			if style.android {
				size := int64(headerSize + len(h.Payload))
				f.Size = &size
			}
			return f.AppendTo(nil)
		}
	}
	for name, write := range map[string]func(*testing.T, vector) []byte{
		"identity-a": func(t *testing.T, v vector) []byte { k := v.seed(t, "seed").Key(); return k[:] },
		"identity-b": func(t *testing.T, v vector) []byte { k := v.seed(t, "seed").Key(); return k[:] },
		"role-control": func(*testing.T, vector) []byte {
			return []byte{RoleControl}
		},
		"role-data": func(*testing.T, vector) []byte { return []byte{RoleData} },
		"hello": func(t *testing.T, v vector) []byte {
			return Frame{Type: TypeHello, Fields: Fields{
				"version": 1, "own": v.bytes(t, "own"), "receiver": v.bytes(t, "receiver"), "client": v.number(t, "client_id"),
			}}.AppendTo(nil)
		},
		"hello-with-address": func(t *testing.T, v vector) []byte {
			return Frame{Type: TypeHello, Fields: Fields{
				"version": 1, "own": v.bytes(t, "own"), "receiver": v.bytes(t, "receiver"),
				"client": v.number(t, "client_id"), "address": v.bytes(t, "address"),
			}}.AppendTo(nil)
		},
		"challenge":                challenge(TypeChallenge, "challenge"),
		"challenge2":               challenge(TypeChallenge2, "challenge"),
		"challenge-answer":         answer(TypeChallengeAnswer),
		"challenge-answer2":        answer(TypeChallengeAnswer2),
		"ok-0":                     ok,
		"ok-negative":              ok,
		"info-request-0":           since,
		"info-request":             since,
		"info-response":            info,
		"info-response-empty":      info,
		"ping":                     frame(Frame{Type: TypePing}),
		"pong":                     frame(Frame{Type: TypePong}),
		"message-text":             message(headerStyle{}),
		"message-reaction":         message(headerStyle{}),
		"message-empty":            message(headerStyle{}),
		"message-image":            message(headerStyle{}),
		"message-voice":            message(headerStyle{}),
		"contact-response-yes":     accepted,
		"contact-response-no":      accepted,
		"call-hang":                frame(Frame{Type: TypeCallHang}),
		"message-wrong-size-field": message(headerStyle{android: true}),
		"contact-request": func(t *testing.T, v vector) []byte {
			return Frame{Type: TypeContactRequest, Fields: Fields{
				"message": v.text(t, "message"), "nickname": v.text(t, "nickname"), "info": v.text(t, "info"), "avatar": v.bytes(t, "avatar"),
			}}.AppendTo(nil)
		},
		"file-request": func(t *testing.T, v vector) []byte {
			return Frame{Type: TypeFileRequest, Fields: Fields{
				"guid": v.number(t, "guid"), "name": v.text(t, "name"), "hash": v.text(t, "hash"),
			}}.AppendTo(nil)
		},
		"call-offer": func(t *testing.T, v vector) []byte {
			return Frame{Type: TypeCallOffer, Fields: Fields{
				"mime": v.text(t, "mime"), "rate": v.number(t, "sample_rate"), "channels": v.number(t, "channels"),
			}}.AppendTo(nil)
		},
		"call-answer-no": func(t *testing.T, v vector) []byte {
			var yes bool
			v.in(t, "ok", &yes)
			return Frame{Type: TypeCallAnswer, Fields: Fields{"ok": yes, "error": v.text(t, "error")}}.AppendTo(nil)
		},
		"call-packet": func(t *testing.T, v vector) []byte {
			return Frame{Type: TypeCallPacket, Fields: Fields{"data": v.bytes(t, "data")}}.AppendTo(nil)
		},
		"data-frame": func(t *testing.T, v vector) []byte {
			return Message{
				GUID: GUID(v.number(t, "guid")), ReplyTo: GUID(v.number(t, "reply_to")), SendTime: v.number(t, "send_time"),
				EditTime: v.number(t, "edit_time"), Type: MessageType(v.number(t, "type")), Payload: v.bytes(t, "data"),
			}.dataFrame().AppendTo(nil)
		},
		"data-frame-file-response": func(t *testing.T, v vector) []byte {
			meta := v.text(t, "meta")
			return Message{
				GUID: GUID(v.number(t, "guid")), SendTime: v.number(t, "send_time"), Type: FileResponse,
				Payload: append(append(uint32Bytes(uint32(len(meta))), meta...), v.text(t, "file")...),
			}.dataFrame().AppendTo(nil)
		},
		"link": nil, "guid": nil, "guid-short": nil, "unknown-type": nil, "handshake-initiator-bytes": nil,
		"handshake-acceptor-bytes": nil, "info-response-negative-avatar": nil, "hello-short-key": nil,
		"message-negative-payload-size": nil, "message-odd-numbers": nil, // tests of their own, below
	} {
		v, there := all[name]
		delete(all, name)
		if !there {
			t.Errorf("%s: not in the file", name)
		}
		if write == nil {
			continue
		}
		t.Run(name, func(t *testing.T) {
			want := unhex(t, v.out(t))
			if got := write(t, v); !bytes.Equal(got, want) {
				t.Fatalf("wrote\n%x, want\n%x", got, want)
			}
			if strings.HasPrefix(name, "identity") || strings.HasPrefix(name, "role") {
				return
			}
			// Read again and written again it is the same.
			r := bytes.NewReader(want)
			f, err := readAny(r, strings.HasPrefix(name, "data-frame"))
			if err != nil {
				t.Fatal(err)
			}
			if got := f.AppendTo(nil); !bytes.Equal(got, want) || r.Len() != 0 {
				t.Errorf("read and wrote\n%x, want\n%x; %d bytes left", got, want, r.Len())
			}
		})
	}
	for name := range all {
		t.Errorf("%s: nothing is tested with it", name)
	}
}

func readAny(r io.Reader, data bool) (Frame, error) {
	if data {
		return readData(r)
	}
	t, size, err := readHeader(r)
	if err != nil {
		return Frame{}, err
	}
	return readBody(r, t, size, true)
}

func TestVectorsGUIDs(t *testing.T) {
	all := vectors(t, "peer.json")
	for _, name := range []string{"guid", "guid-short"} {
		v := all[name]
		got := guidOf(v.bytes(t, "payload"), v.number(t, "time"))
		if strconv.FormatInt(int64(got), 10) != v.out(t) {
			t.Errorf("%s: %d, want %s", name, got, v.out(t))
		}
	}
	// Longer than one stripe of the hash; the value is from the hash's own tests.
	if got := xxh64([]byte("Nobody inspects the spammish repetition"), 0); got != 0xfbcea83c8a378bf1 {
		t.Errorf("xxh64 %x", got)
	}
}

func TestVectorsLink(t *testing.T) {
	v := vectors(t, "peer.json")["link"]
	if got := Key(v.bytes(t, "identity")).Link(v.text(t, "name")); got != v.out(t) {
		t.Errorf("link %s, want %s", got, v.out(t))
	}
}

// What must not be taken is not taken.
func TestVectorsErrors(t *testing.T) {
	all := vectors(t, "peer.json")
	for _, name := range []string{"info-response-negative-avatar", "hello-short-key", "message-negative-payload-size"} {
		v := all[name]
		if f, err := readAny(bytes.NewReader(v.bytes(t, "bytes")), false); !errors.Is(err, errProtocol) {
			t.Errorf("%s: read %v, %v", name, f, err)
		}
	}
}

func TestVectorsUnknownTypeIsSkipped(t *testing.T) {
	v := vectors(t, "peer.json")["unknown-type"]
	r := bytes.NewReader(v.bytes(t, "bytes"))
	if f, err := readAny(r, false); err != nil || f.Type != 7777 {
		t.Fatalf("read %v, %v", f, err)
	}
	f, err := readAny(r, false)
	if err != nil || !strings.EqualFold(f.Type.String(), v.out(t)) {
		t.Errorf("read %v, %v; want %s", f, err, v.out(t))
	}
}

func TestVectorsOddNumbers(t *testing.T) {
	v := vectors(t, "peer.json")["message-odd-numbers"]
	f, err := readAny(bytes.NewReader(v.bytes(t, "bytes")), false)
	if err != nil {
		t.Fatal(err)
	}
	m, err := messageOf(f)
	if err != nil {
		t.Fatal(err)
	}
	var want struct{ GUID, SendTime, Type int64 }
	if err := json.Unmarshal(v.Output, &want); err != nil {
		t.Fatal(err)
	}
	if int64(m.GUID) != want.GUID || m.SendTime != want.SendTime || int64(m.Type) != want.Type {
		t.Errorf("read %+v, want %+v", m, want)
	}
}

func TestVectorsTracker(t *testing.T) {
	all := vectors(t, "tracker.json")
	nonceOf := func(t *testing.T, v vector) nonce { t.Helper(); return nonce(v.bytes(t, "nonce")) }
	answer := func(t *testing.T, v vector, command byte) []byte {
		n := nonceOf(t, v)
		return append(n[:], command)
	}
	for name, write := range map[string]func(*testing.T, vector) []byte{
		"announce-request": func(t *testing.T, v vector) []byte {
			return announceRequest(nonceOf(t, v), v.seed(t, "identity_seed"), identity.NodeKey(v.bytes(t, "node_pub")),
				byte(v.number(t, "priority")), uint32(v.number(t, "client_id")))
		},
		"announce-response": func(t *testing.T, v vector) []byte {
			return appendTLV(answer(t, v, commandAnnounce), tagTTLSecs, append(make([]byte, 4), uint32Bytes(uint32(v.number(t, "ttl_secs")))...))
		},
		"ping-request":  func(t *testing.T, v vector) []byte { return pingRequest(nonceOf(t, v)) },
		"ping-response": func(t *testing.T, v vector) []byte { return answer(t, v, commandPing) },
		"get-addrs-request": func(t *testing.T, v vector) []byte {
			return getAddrsRequest(nonceOf(t, v), Key(v.bytes(t, "identity_pub")))
		},
		"get-addrs-response-none": func(t *testing.T, v vector) []byte {
			return appendTLV(answer(t, v, commandGetAddrs), tagCount, []byte{0})
		},
		"get-addrs-response-one": getAddrsResponse,
		"get-addrs-response-two": getAddrsResponse,
	} {
		t.Run(name, func(t *testing.T) {
			v := all[name]
			want := unhex(t, v.out(t))
			if got := write(t, v); !bytes.Equal(got, want) {
				t.Fatalf("wrote\n%x, want\n%x", got, want)
			}
		})
	}
}

func getAddrsResponse(t *testing.T, v vector) []byte {
	var records []json.RawMessage
	v.in(t, "records", &records)
	b := append(append(v.bytes(t, "nonce"), commandGetAddrs), tagCount, 1, byte(len(records)))
	for _, inputs := range records {
		rec := vector{Inputs: inputs}
		b = appendTLV(b, tagRecord, record{
			Node: identity.NodeKey(rec.bytes(t, "node_pub")), Signature: rec.bytes(t, "signature"),
			Priority: byte(rec.number(t, "priority")), ClientID: uint32(rec.number(t, "client_id")),
			ExpiresMS: uint64(rec.number(t, "expires_ms")),
		}.appendTo(nil))
	}
	return b
}

func TestVectorsTrackerAnswersAreRead(t *testing.T) {
	all := vectors(t, "tracker.json")
	id := Key(all["get-addrs-request"].bytes(t, "identity_pub"))
	nodes := func(name, response string) (nodes []string, failed bool) {
		t.Helper()
		r, err := splitReply(unhex(t, response))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		records, err := r.addresses(id)
		for _, rec := range records {
			nodes = append(nodes, rec.Node.String())
		}
		return nodes, err != nil
	}
	const first, second = "174553b456dddfc6908ecab1c101fe6ab21e2baa0617795b7d43a63482993fd5", "cd14b37f956e953194ff7fb73b3d81dcc561d61a7538094b7c3e1a643ee5f3aa"
	for name, want := range map[string]string{
		"get-addrs-response-none": "", "get-addrs-response-one": first,
		"get-addrs-response-two": second + " " + first, // by priority
	} {
		if got, failed := nodes(name, all[name].out(t)); failed || strings.Join(got, " ") != want {
			t.Errorf("%s: %v, want %s", name, got, want)
		}
	}
	forged := all["get-addrs-response-bad-signature"]
	var usable struct {
		Nodes []string `json:"usable_node_pubs"`
	}
	if err := json.Unmarshal(forged.Output, &usable); err != nil {
		t.Fatal(err)
	}
	if got, failed := nodes(forged.Name, forged.text(t, "response")); failed || strings.Join(got, " ") != strings.Join(usable.Nodes, " ") {
		t.Errorf("%s: %v, want %v", forged.Name, got, usable.Nodes)
	}
	if got, failed := nodes("count", all["get-addrs-response-count-too-big"].text(t, "response")); !failed {
		t.Errorf("a count without records: %v", got)
	}
	r, err := splitReply(unhex(t, all["announce-response"].out(t)))
	if err != nil {
		t.Fatal(err)
	}
	if ttl, err := r.ttl(); err != nil || ttl != 240 {
		t.Errorf("ttl %d, %v", ttl, err)
	}
}

func TestVectorsTLV(t *testing.T) {
	for name, v := range vectors(t, "tlv.json") {
		kind, _, _ := strings.Cut(name, "-")
		var inputs struct {
			Value *int
			Bytes string
		}
		if err := json.Unmarshal(v.Inputs, &inputs); err != nil && kind == "varint" {
			t.Fatal(err)
		}
		switch {
		case kind != "varint": // what is made of TLVs is tested with the answers
		case inputs.Value != nil:
			if value, n := varint(unhex(t, v.out(t))); value != *inputs.Value || n != len(v.out(t))/2 {
				t.Errorf("%s: %d in %d bytes", name, value, n)
			}
		case string(v.Output) == `"error"`:
			if value, n := varint(unhex(t, inputs.Bytes)); n != 0 {
				t.Errorf("%s: %d in %d bytes", name, value, n)
			}
		default:
			if value, _ := varint(unhex(t, inputs.Bytes)); strconv.Itoa(value) != string(v.Output) {
				t.Errorf("%s: %d, want %s", name, value, v.Output)
			}
		}
	}
}
