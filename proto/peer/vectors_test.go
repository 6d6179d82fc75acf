// SPDX-License-Identifier: MPL-2.0

package peer_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/peer"
	"github.com/mimird/mimird/proto/wire"
	"github.com/mimird/mimird/proto/wire/wiretest"
)

type check = func(*testing.T, wiretest.Vector)

// Bar S26
func TestVectors(t *testing.T) {
	wiretest.Run(t, vectors, map[string]check{
		"identity-a": checkIdentity,
		"identity-b": checkIdentity,
		"link":       checkLink,

		"role-control": checkRole(peer.RoleControl),
		"role-data":    checkRole(peer.RoleData),

		"hello":              handshakeFrame(hello),
		"hello-with-address": handshakeFrame(hello),
		"hello-short-key":    checkHandshakeError,
		"challenge": handshakeFrame(func(v wiretest.Vector) peer.Frame {
			return peer.Challenge{Challenge: v.Key("challenge")}
		}),
		"challenge2": handshakeFrame(func(v wiretest.Vector) peer.Frame {
			return peer.Challenge2{Challenge: v.Key("challenge")}
		}),
		"challenge-answer": handshakeFrame(func(v wiretest.Vector) peer.Frame {
			return peer.ChallengeAnswer{Signature: sign(v)}
		}),
		"challenge-answer2": handshakeFrame(func(v wiretest.Vector) peer.Frame {
			return peer.ChallengeAnswer2{Signature: sign(v)}
		}),
		"handshake-initiator-bytes": checkInitiatorBytes,
		"handshake-acceptor-bytes":  checkAcceptorBytes,

		"ok-0":        frame(func(v wiretest.Vector) peer.Frame { return peer.OK{ID: peer.GUID(v.Int("id"))} }),
		"ok-negative": frame(func(v wiretest.Vector) peer.Frame { return peer.OK{ID: peer.GUID(v.Int("id"))} }),
		"ping":        frame(func(wiretest.Vector) peer.Frame { return peer.Ping{} }),
		"pong":        frame(func(wiretest.Vector) peer.Frame { return peer.Pong{} }),

		"info-request-0":      frame(infoRequest),
		"info-request":        frame(infoRequest),
		"info-response":       frame(infoResponse),
		"info-response-empty": frame(infoResponse),

		"info-response-negative-avatar": checkFrameError,

		"message-text":                  frame(message),
		"message-reaction":              frame(message),
		"message-empty":                 frame(message),
		"message-image":                 frame(message),
		"message-voice":                 frame(message),
		"message-wrong-size-field":      checkWrongSize,
		"message-negative-payload-size": checkFrameError,
		"message-odd-numbers":           checkOddNumbers,

		"contact-request": frame(func(v wiretest.Vector) peer.Frame {
			return peer.ContactRequest{Message: v.Text("message"), Profile: profile(v)}
		}),
		"contact-response-yes": frame(contactResponse),
		"contact-response-no":  frame(contactResponse),
		"file-request": frame(func(v wiretest.Vector) peer.Frame {
			return peer.FileRequest{GUID: peer.GUID(v.Int("guid")), Name: v.Text("name"), Hash: v.Text("hash")}
		}),

		"call-offer": frame(func(v wiretest.Vector) peer.Frame {
			return peer.CallOffer{MIMEType: v.Text("mime"), SampleRate: int32(v.Int("sample_rate")), Channels: int32(v.Int("channels"))}
		}),
		"call-answer-no": frame(func(v wiretest.Vector) peer.Frame {
			f := peer.CallAnswer{Error: v.Text("error")}
			v.Decode("ok", &f.Accepted)
			return f
		}),
		"call-hang":   frame(func(wiretest.Vector) peer.Frame { return peer.CallHang{} }),
		"call-packet": frame(func(v wiretest.Vector) peer.Frame { return peer.CallPacket{Data: v.Hex("data")} }),

		"unknown-type": checkUnknown,

		"data-frame":               checkDataFrame,
		"data-frame-file-response": checkFileResponse,

		"guid":       checkGUID,
		"guid-short": checkGUID,
	})
}

// frame checks a frame of a session both ways.
func frame(want func(wiretest.Vector) peer.Frame) check {
	return func(t *testing.T, v wiretest.Vector) {
		got, err := readOne(t, v.OutputHex())
		compare(t, v, want(v), got, err)
	}
}

// handshakeFrame checks a frame of a handshake both ways.
func handshakeFrame(want func(wiretest.Vector) peer.Frame) check {
	return func(t *testing.T, v wiretest.Vector) {
		got, err := peer.ReadHandshakeFrame(buffered(v.OutputHex()))
		compare(t, v, want(v), got, err)
	}
}

func compare(t *testing.T, v wiretest.Vector, want, got peer.Frame, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if b := want.AppendTo([]byte("before"))[len("before"):]; !bytes.Equal(b, v.OutputHex()) {
		t.Errorf("written as\n%x, want\n%x", b, v.OutputHex())
	}
}

func checkIdentity(t *testing.T, v wiretest.Vector) {
	if got := identity.NewPrivateKey(v.Key("seed")).Public(); !bytes.Equal(got[:], v.OutputHex()) {
		t.Errorf("key %s", got)
	}
}

func checkLink(t *testing.T, v wiretest.Vector) {
	if got := (identity.Link{Key: v.Key("identity"), Name: v.Text("name")}).String(); got != v.OutputText() {
		t.Errorf("link %s", got)
	}
}

func checkRole(want peer.Role) check {
	return func(t *testing.T, v wiretest.Vector) {
		if got, err := peer.ReadRole(buffered(v.OutputHex())); got != want || err != nil {
			t.Errorf("role %d, error %v", got, err)
		}
	}
}

func hello(v wiretest.Vector) peer.Frame {
	f := peer.Hello{
		Version: peer.ProtocolVersion, Sender: v.Key("own"), Receiver: v.Key("receiver"), ClientID: uint32(v.Int("client_id")),
	}
	if v.Inputs["address"] != nil {
		f.Address = v.Key("address")
	}
	return f
}

func sign(v wiretest.Vector) identity.Signature {
	return identity.NewPrivateKey(v.Key("seed")).SignAnnounce(v.Key("challenge")) // the same bytes for every use
}

func infoRequest(v wiretest.Vector) peer.Frame { return peer.InfoRequest{Since: v.Int("since")} }

func infoResponse(v wiretest.Vector) peer.Frame {
	return peer.InfoResponse{Time: v.Int("time"), Profile: profile(v)}
}

func profile(v wiretest.Vector) peer.Profile {
	return peer.Profile{Nickname: v.Text("nickname"), Info: v.Text("info"), Avatar: v.Hex("avatar")}
}

func contactResponse(v wiretest.Vector) peer.Frame {
	var f peer.ContactResponse
	v.Decode("accepted", &f.Accepted)
	return f
}

// message makes the frame of the vector's JSON with the standard decoder.
func message(v wiretest.Vector) peer.Frame {
	var header struct {
		GUID     peer.GUID
		ReplyTo  peer.GUID
		SendTime int64
		EditTime int64
		Type     peer.MessageType
	}
	if err := json.Unmarshal([]byte(v.Text("json")), &header); err != nil {
		panic(err)
	}
	f := peer.Message{
		GUID: header.GUID, ReplyTo: header.ReplyTo, SendTime: header.SendTime, EditTime: header.EditTime, Type: header.Type,
	}
	if payload := v.Text("payload"); payload != "" {
		f.Payload = []byte(payload)
	}
	return f
}

func checkWrongSize(t *testing.T, v wiretest.Vector) {
	got, err := readOne(t, v.OutputHex())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(message(v), got); diff != "" {
		t.Error(diff)
	}
}

func checkOddNumbers(t *testing.T, v wiretest.Vector) {
	var want struct {
		GUID           peer.GUID
		SendTime, Type int64
	}
	v.DecodeOutput(&want)
	got, err := readOne(t, v.Hex("bytes"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(peer.Message{GUID: want.GUID, SendTime: want.SendTime, Type: peer.MessageType(want.Type)}, got); diff != "" {
		t.Error(diff)
	}
}

func checkFrameError(t *testing.T, v wiretest.Vector) {
	if f, err := peer.ReadFrame(buffered(v.Hex("bytes")), peer.Limits{}); wire.ViolationCode(err) != wire.CodeLength {
		t.Errorf("frame %v, error %v", f, err)
	}
}

func checkHandshakeError(t *testing.T, v wiretest.Vector) {
	if f, err := peer.ReadHandshakeFrame(buffered(v.Hex("bytes"))); wire.ViolationCode(err) != wire.CodeLength {
		t.Errorf("frame %v, error %v", f, err)
	}
}

func checkUnknown(t *testing.T, v wiretest.Vector) {
	src := buffered(v.Hex("bytes"))
	first, err := peer.ReadFrame(src, peer.Limits{})
	if want := (peer.Unknown{Type: 7777, Size: 3}); first != want || err != nil {
		t.Errorf("frame %v, error %v", first, err)
	}
	second, err := peer.ReadFrame(src, peer.Limits{})
	if second != (peer.Ping{}) || err != nil {
		t.Errorf("frame %v, error %v", second, err)
	}
}

func checkDataFrame(t *testing.T, v wiretest.Vector) {
	data := v.Hex("data")
	want := peer.DataHeader{
		GUID: peer.GUID(v.Int("guid")), ReplyTo: peer.GUID(v.Int("reply_to")), SendTime: v.Int("send_time"), EditTime: v.Int("edit_time"),
		Type: peer.MessageType(v.Int("type")), Size: int64(len(data)),
	}
	got, err := peer.ReadDataHeader(buffered(v.OutputHex()), 1000)
	if got != want || err != nil {
		t.Errorf("header %+v, error %v", got, err)
	}
	if b := append(want.Message(data).DataHeader().AppendTo(nil), data...); !bytes.Equal(b, v.OutputHex()) {
		t.Errorf("written as\n%x, want\n%x", b, v.OutputHex())
	}
}

func checkFileResponse(t *testing.T, v wiretest.Vector) {
	src := buffered(v.OutputHex())
	header, err := peer.ReadDataHeader(src, 1000)
	if err != nil {
		t.Fatal(err)
	}
	meta, size, err := peer.ReadFileMeta(src, header.Size)
	if err != nil {
		t.Fatal(err)
	}
	file := make([]byte, size)
	if n, err := src.Read(file); n != int(size) || string(file) != v.Text("file") || src.Buffered() > 0 {
		t.Errorf("file %q, error %v", file, err)
	}
	var want peer.FileMeta
	if err := json.Unmarshal([]byte(v.Text("meta")), &want); err != nil {
		t.Fatal(err)
	}
	if meta != want {
		t.Errorf("meta %+v", meta)
	}
	data := append(want.AppendTo([]byte("x"))[1:], file...)
	reply := peer.Message{GUID: peer.GUID(v.Int("guid")), SendTime: v.Int("send_time"), Type: peer.TypeFileResponse, Payload: data}
	if b := append(reply.DataHeader().AppendTo(nil), data...); !bytes.Equal(b, v.OutputHex()) {
		t.Errorf("written as\n%x, want\n%x", b, v.OutputHex())
	}
}

func checkGUID(t *testing.T, v wiretest.Vector) {
	payload, err := hex.DecodeString(v.Text("payload"))
	if err != nil {
		t.Fatal(err)
	}
	if got := peer.AppGUID(payload, v.Int("time")); got.String() != v.OutputText() {
		t.Errorf("guid %s, want %s", strconv.FormatInt(int64(got), 10), v.OutputText())
	}
}
