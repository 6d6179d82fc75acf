// SPDX-License-Identifier: MPL-2.0

// Package crashpoint ends the process at named places in the code, for tests that
// kill it exactly where it hurts. The test in test/crash has a case for every
// name, and fails for one that has none.
//
// A point costs one comparison as long as the environment variable is not set.
package crashpoint

import (
	"os"
	"strconv"
	"strings"
	"sync/atomic"
)

// Env names the environment variable that chooses a point: its name, or its name,
// a colon and at which passing of it the process ends.
const Env = "MIMIRD_CRASHPOINT"

// Name is one place in the code.
type Name string

// The places, in the order in which a message passes them.
const (
	// From a peer to a room.

	// AfterDecode: a message has been read from a peer, nothing is stored.
	AfterDecode Name = "after-decode"
	// BeforeOK: the message is stored, the peer does not know.
	BeforeOK Name = "before-ok"
	// AfterOK: the OK is on its way to the peer, the message perhaps on its way to the
	// room.
	AfterOK Name = "after-ok"
	// BeforeRoom: the bridge is about to give the message to the homeserver.
	BeforeRoom Name = "before-room"
	// AfterRoom: the homeserver has it, the cursor does not say so.
	AfterRoom Name = "after-room"

	// From a room to a peer.

	// BeforeTransaction: a transaction has been read from the homeserver, nothing is
	// stored.
	BeforeTransaction Name = "before-transaction"
	// BeforeTransactionOK: the transaction is stored, the homeserver does not know.
	BeforeTransactionOK Name = "before-transaction-ok"
	// AfterTransactionOK: the homeserver knows, nothing of it has been done.
	AfterTransactionOK Name = "after-transaction-ok"
	// AfterEnqueue: the message is in the outbox, the transaction is not finished.
	AfterEnqueue Name = "after-enqueue"
	// BeforeSend: the message is about to be sent to the peer.
	BeforeSend Name = "before-send"
	// AfterSend: it is on its way, no OK has come.
	AfterSend Name = "after-send"
	// BeforeDelivered: the OK has come, the message is still in the outbox.
	BeforeDelivered Name = "before-delivered"

	// A file from us to a file server.

	// BeforeFileRow: the file is in the media store, its message is not queued.
	BeforeFileRow Name = "before-file-row"
	// BeforeUpload: key and hash of the encrypted file are stored, nothing is sent.
	BeforeUpload Name = "before-upload"
	// DuringUpload: the server has taken a chunk.
	DuringUpload Name = "during-upload"
	// AfterUpload: the server has the file, the message does not say so.
	AfterUpload Name = "after-upload"

	// A file from a file server to us.

	// DuringDownload: a chunk is on the disk.
	DuringDownload Name = "during-download"
	// BeforePlace: the file is whole and decrypted, not yet in the media store.
	BeforePlace Name = "before-place"
	// AfterPlace: it is in the media store, the message does not say so.
	AfterPlace Name = "after-place"

	// What is large, between two peers.

	// DuringArrival: a piece of a file from the peer's data stream is on the disk.
	DuringArrival Name = "during-arrival"
	// AfterArrival: that file is in the media store, its message is not stored.
	AfterArrival Name = "after-arrival"
	// DuringData: a piece of a large message is on our data stream.
	DuringData Name = "during-data"

	// A call to the answering machine.

	// DuringCall: a second of the caller is on the disk.
	DuringCall Name = "during-call"
	// BeforeCallMessage: the recording is complete, its message is not stored.
	BeforeCallMessage Name = "before-call-message"
	// AfterCallMessage: the message is stored, and the recording still there.
	AfterCallMessage Name = "after-call-message"

	// A message from a contact to the phone that has the account too, and an answer back.

	// AfterForward: the message for the phone is queued, the cursor does not say so.
	AfterForward Name = "after-forward"
	// AfterAnswer: the answer of the phone is queued, the cursor does not say so.
	AfterAnswer Name = "after-answer"

	// A file from somebody to our file server.

	// DuringHosting: a chunk is on the disk, its sender does not know.
	DuringHosting Name = "during-hosting"
	// BeforeHosted: the file is in its place, without a row.
	BeforeHosted Name = "before-hosted"
	// AfterHosted: it has its row, its sender does not know.
	AfterHosted Name = "after-hosted"

	// A request that changes something, from a client of our mediator.

	// BeforeMediated: the request is read, nothing is stored.
	BeforeMediated Name = "before-mediated"
	// AfterMediated: the change is stored, nobody knows.
	AfterMediated Name = "after-mediated"
	// BeforeMediatedOK: others are being pushed it, its sender does not know.
	BeforeMediatedOK Name = "before-mediated-ok"
)

// Names lists all points.
func Names() []Name {
	return []Name{
		AfterDecode, BeforeOK, AfterOK, BeforeRoom, AfterRoom,
		BeforeTransaction, BeforeTransactionOK, AfterTransactionOK, AfterEnqueue, BeforeSend, AfterSend, BeforeDelivered,
		BeforeFileRow, BeforeUpload, DuringUpload, AfterUpload, DuringDownload, BeforePlace, AfterPlace,
		DuringArrival, AfterArrival, DuringData, DuringCall, BeforeCallMessage, AfterCallMessage, AfterForward, AfterAnswer, DuringHosting, BeforeHosted, AfterHosted,
		BeforeMediated, AfterMediated, BeforeMediatedOK,
	}
}

// chosen is read once: a program that is not told to crash never does.
var chosen, passings = parse(os.Getenv(Env))

func parse(value string) (Name, *atomic.Int64) {
	name, times, found := strings.Cut(value, ":")
	left := new(atomic.Int64)
	left.Store(1)
	if n, err := strconv.ParseInt(times, 10, 64); found && err == nil {
		left.Store(n)
	}
	return Name(name), left
}

// At ends the process, without any clean-up, when this point was chosen and has
// been passed as often as was asked for.
func At(name Name) {
	if name == chosen && chosen != "" && passings.Add(-1) == 0 {
		die()
	}
}
