// SPDX-License-Identifier: MPL-2.0

package main

// noFailFile keeps rapid from noting a sequence that fails because of a defect.
const noFailFile = "-rapid.nofailfile"

// mutants lists the defects.
func mutants() []mutant {
	return []mutant{
		{
			name:   "ok-before-commit",
			harm:   "what a peer believes to be safe is lost when the node is killed",
			file:   "actors/session_frames.go",
			before: "	then := pendingWrite{ok: &peer.OK{ID: m.GUID}, cost: cost}\n",
			after:  "	s.send(c, peer.OK{ID: m.GUID})\n	then := pendingWrite{cost: cost}\n",
			tests:  []string{"-run", "Accepted", "./actors"},
		},
		{
			name:   "no-sync",
			harm:   "a power cut loses what was acknowledged",
			file:   "actors/store/commit.go",
			before: "opts = pebble.Sync\n",
			after:  "opts = pebble.NoSync\n",
			tests:  []string{"-run", "TestCrash", "./actors/store", noFailFile},
		},
		{
			name:   "no-deduplication",
			harm:   "every message that a phone repeats is shown again",
			file:   "actors/store/message_ops.go",
			before: "		if op.sameContent(v.msg) {\n",
			after:  "		if false {\n",
			tests:  []string{"-run", "TestModelStore|Duplicate|Accept", "./actors/store", noFailFile},
		},
		{
			name:   "outgoing-twice",
			harm:   "a message that Matrix or a bot repeats is sent again",
			file:   "actors/store/message_ops.go",
			before: "	if op.Source != \"\" {\n		msg, found",
			after:  "	if false {\n		msg, found",
			tests:  []string{"-run", "TestModelStore|Enqueue|Source", "./actors/store", noFailFile},
		},
		{
			name:   "signature-ignored",
			harm:   "anybody can be anybody",
			file:   "proto/identity/sign.go",
			before: "	if !ed25519.Verify(k[:], value, sig[:]) {\n",
			after:  "	if !ed25519.Verify(k[:], value, sig[:]) && false {\n",
			tests:  []string{"./proto/identity", "./proto/peer", "./proto/tracker"},
		},
		{
			name:   "stranger-heard",
			harm:   "people who are blocked or unknown can write",
			file:   "actors/session_frames.go",
			before: "	if !s.allowed {\n		s.refused = true\n		return false\n	}\n",
			after:  "",
			tests:  []string{"-run", "Stranger|Blocked", "./actors"},
		},
		{
			name:   "cursor-early",
			harm:   "a message that did not reach its room is never tried again",
			file:   "bridge/deliverpage.go",
			before: "		if err := d.show(work, at, ev); err != nil {\n",
			after:  "		_ = d.node.MoveCursor(work, consumer, at.Account, at.Contact, ev.Seq)\n		at.cursor = ev.Seq\n		if err := d.show(work, at, ev); err != nil {\n",
			tests:  []string{"-run", "Delivery|Return|Away|Doubt", "./bridge"},
		},
		{
			name:   "200-before-storing",
			harm:   "what is written in Matrix is lost when the node is killed",
			file:   "bridge/listener.go",
			before: "	duplicate, err := l.node.AppendJournal(",
			after:  "	writeOK(w)\n	duplicate, err := l.node.AppendJournal(",
			tests:  []string{"-run", "Stored|Store|Listener|Transaction", "./bridge"},
		},
		{
			name:   "transaction-forgotten",
			harm:   "what is written in Matrix is sent again when the homeserver repeats itself",
			file:   "actors/store/journal_ops.go",
			before: "	if known != 0 {\n		return Journaled{",
			after:  "	if false {\n		return Journaled{",
			tests:  []string{"-run", "TestModelStore|Journal", "./actors/store", noFailFile},
		},
		{
			name:   "random-transaction-id",
			harm:   "a message is shown again when the answer of the homeserver was lost",
			file:   "bridge/transport.go",
			before: "fmt.Appendf(nil, \"mimird/1/%s/%s/%d\", s.seed, kind, s.count[kind])",
			after:  "fmt.Appendf(nil, \"mimird/1/%s/%s/%d/%p\", s.seed, kind, s.count[kind], s)",
			tests:  []string{"-run", "Once|Same|Scope|Transaction", "./bridge"},
		},
		{
			name:   "settled-early",
			harm:   "a message leaves the outbox though the contact has not acknowledged it",
			file:   "actors/session_frames.go",
			before: "	s.inFlight = &inFlight{guid: frame.GUID, until: time.Now().Add(ackTime)}\n",
			after:  "	s.inFlight = &inFlight{guid: frame.GUID, until: time.Now().Add(ackTime)}\n	c.Tell(c.Parent(), acked{frame.GUID})\n",
			tests:  []string{"-run", "Phone|Order|Acknowledg|Scripts", "./actors"},
		},
		{
			name:   "second-process",
			harm:   "two processes write one store and damage it",
			file:   "actors/store/store.go",
			before: "	if s.lock, err = lockDir(s.fileSystem(), s.opts.Dir); err != nil {\n",
			after:  "	if s.lock, err = lockDir(vfs.NewMem(), s.opts.Dir); err != nil {\n",
			tests:  []string{"-run", "Open|Second|Process|InUse", "./actors/store"},
		},
		{
			name:   "looked-once",
			harm:   "a message is shown again when node and homeserver were killed together",
			file:   "bridge/room.go",
			before: "	if err == nil && len(found) == 0 && d.at.begun {\n",
			after:  "	if false {\n",
			tests:  []string{"-run", "Once", "./bridge"},
		},
		{
			name:   "reserve-ignored",
			harm:   "messages are taken in until the disk is full and the node ends",
			file:   "actors/store/txn.go",
			before: "	if t.w.store.space.low() {\n",
			after:  "	if false {\n",
			tests:  []string{"-run", "TestDiskReserve", "./actors/store"},
		},
		{
			name:   "version-before-rows",
			harm:   "an upgrade that is killed is taken for one that was done",
			file:   "actors/store/migrate.go",
			before: "	b := db.NewBatch()\n	if err := step.run(db, b); err != nil {\n",
			after:  "	b := db.NewBatch()\n	if err := putVersion(db, db.NewBatch(), step.to); err != nil {\n		return err\n	}\n	if err := step.run(db, b); err != nil {\n",
			tests:  []string{"-run", "TestCrashUpgrade", "./actors/store"},
		},
		{
			name:   "events-outlive",
			harm:   "what happened to an account that was removed comes back",
			file:   "actors/store/commit.go",
			before: "	if err := b.gather(); err != nil {\n		return err\n	}\n	if c.kind",
			after:  "	if c.kind",
			tests:  []string{"-run", "TestRemovedAccount", "./actors/store"},
		},
		{
			name:   "store-restarted",
			harm:   "after a panic the node goes on with what it believes to be in its store",
			file:   "actors/node_actor.go",
			before: " Once: true, Resident: true,\n",
			after:  " Resident: true,\n",
			tests:  []string{"-run", "TestPanicOfTheStore", "./actors"},
		},
	}
}
