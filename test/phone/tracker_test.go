// SPDX-License-Identifier: MPL-2.0

package phone

import (
	"context"
	"encoding/binary"
	"testing"

	"github.com/mimird/mimird/actors/overlay"
	"github.com/mimird/mimird/actors/overlay/memnet"
	"github.com/mimird/mimird/proto/identity"
)

// appendTo appends what is in a RECORD.
func (r record) appendTo(b []byte) []byte {
	b = appendTLV(b, tagNodePub, r.Node[:])
	b = appendTLV(b, tagSignature, r.Signature)
	b = appendTLV(b, tagPriority, []byte{r.Priority})
	b = appendTLV(b, tagClientID, uint32Bytes(r.ClientID))
	return appendTLV(b, tagExpiresMS, binary.BigEndian.AppendUint64(nil, r.ExpiresMS))
}

// startTracker runs a tracker that remembers the last announcement of everybody.
func startTracker(t *testing.T, net *memnet.Net) identity.NodeKey {
	t.Helper()
	node := net.Node(overlay.Limits{})
	port, err := node.ListenDatagrams(trackerPort)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	known := make(map[Key][]byte) // RECORDs
	go func() {
		defer close(done)
		for {
			from, b, err := port.Receive(ctx)
			if err != nil {
				return
			}
			_ = port.Send(from, trackerPort, answerAsTracker(known, b)) // lost ones are asked for again
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-done
		_ = node.Close()
	})
	return node.Key()
}

func answerAsTracker(known map[Key][]byte, b []byte) []byte {
	command := b[5]
	fields := make(map[byte][]byte)
	_ = eachTLV(b[6:], func(tag byte, value []byte) { fields[tag] = value }) // a phone's own
	answer := append(b[1:5:5], command)
	switch command {
	case commandAnnounce:
		known[Key(fields[tagUserPub])] = record{
			Node: identity.NodeKey(fields[tagNodePub]), Signature: fields[tagSignature], Priority: fields[tagPriority][0],
			ClientID: binary.BigEndian.Uint32(fields[tagClientID]), ExpiresMS: 299_000,
		}.appendTo(nil)
		return appendTLV(answer, tagTTLSecs, binary.BigEndian.AppendUint64(nil, 240))
	case commandGetAddrs:
		rec := known[Key(fields[tagUserPub])]
		if rec == nil {
			return appendTLV(answer, tagCount, []byte{0})
		}
		return appendTLV(appendTLV(answer, tagCount, []byte{1}), tagRecord, rec)
	}
	return answer
}
