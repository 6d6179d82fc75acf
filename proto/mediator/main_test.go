// SPDX-License-Identifier: MPL-2.0

package mediator_test

import (
	"bufio"
	"bytes"
	_ "embed"
	"testing"

	"go.uber.org/goleak"

	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/mediator"
	"github.com/mimird/mimird/proto/wire"
)

//go:embed testdata/vectors.json
var vectors []byte

//go:embed testdata/captures.json
var captures []byte

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func buffered(b []byte) *bufio.Reader { return bufio.NewReader(bytes.NewReader(b)) }

// seeded is the identity whose seed counts up from a byte: alice's from 0, bob's
// from 0x20.
func seeded(first byte) identity.PrivateKey {
	var seed [32]byte
	for i := range seed {
		seed[i] = first + byte(i)
	}
	return identity.NewPrivateKey(seed)
}

func alice() identity.PublicKey { return seeded(0).Public() }
func bob() identity.PublicKey   { return seeded(0x20).Public() }

func readCall(tb testing.TB, b []byte) mediator.Call {
	tb.Helper()
	call, err := mediator.ReadCall(buffered(b), wire.MaxMediatorRequest)
	if err != nil {
		tb.Fatalf("read request: %v", err)
	}
	return call
}

func readAnswer(tb testing.TB, b []byte) mediator.Answer {
	tb.Helper()
	answer, err := mediator.ReadAnswer(buffered(b), wire.MaxMediatorAnswer)
	if err != nil {
		tb.Fatalf("read answer: %v", err)
	}
	return answer
}

// resultOf makes an empty result of a command, nil when it has none.
func resultOf(command mediator.Command) mediator.Result {
	switch command {
	case mediator.CommandGetNonce:
		return &mediator.Nonce{}
	case mediator.CommandCreateChat:
		return &mediator.Chat{}
	case mediator.CommandDeleteChat:
		return &mediator.Deleted{}
	case mediator.CommandGetUserChats:
		return &mediator.Chats{}
	case mediator.CommandSendMessage:
		return &mediator.Sent{}
	case mediator.CommandGetLastMessageID, mediator.CommandSubscribe:
		return &mediator.LastMessage{}
	case mediator.CommandGetMessagesSince:
		return &mediator.Messages{}
	case mediator.CommandGetMembersInfo:
		return &mediator.MembersInfo{}
	case mediator.CommandGetMembers:
		return &mediator.Members{}
	}
	return nil
}

// commands are all commands of the protocol.
func commands() []mediator.Command {
	var all []mediator.Command
	for c := range 256 {
		if command := mediator.Command(c); command.String() != "UNKNOWN" {
			all = append(all, command)
		}
	}
	return all
}
