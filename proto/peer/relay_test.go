// SPDX-License-Identifier: MPL-2.0

package peer_test

import (
	"errors"
	"testing"

	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/peer"
	"github.com/mimird/mimird/proto/wire"
)

func malloryNode() identity.NodeKey { return identity.NodeKey(privateKey(66).Public()) }

// sealed are the configurations of both ends of one stream between two nodes.
func sealed(initiator, acceptor identity.NodeKey) (peer.InitiatorConfig, peer.AcceptorConfig) {
	a, b := initiatorConfig(), acceptorConfig()
	a.SealLocal, a.SealRemote, a.RemoteNode = initiator, acceptor, acceptor
	b.SealLocal, b.SealRemote, b.RemoteNode = acceptor, initiator, initiator
	return a, b
}

func TestHandshake_SealedBetweenOurNodes_Completes(t *testing.T) {
	ac, bc := sealed(aliceNode(), bobNode())
	ac.Guard = identity.GuardSet{ac.Guard, identity.CurvePoints{}}
	bc.Guard = identity.GuardSet{bc.Guard, identity.CurvePoints{}}
	aliceEnd, bobEnd := newStream()
	initiated := make(chan error, 1)
	go func() { initiated <- aliceEnd.run(peer.NewInitiator(ac)) }()
	if err := errors.Join(bobEnd.run(peer.NewAcceptor(bc)), <-initiated); err != nil {
		t.Fatal(err)
	}
}

// Mallory accepts Alice's stream as Bob and dials Bob as Alice. She hands on every
// frame; the first challenge that she forwards was sealed for another connection.
//
// Bar S08
func TestHandshake_RelayedBetweenTwoStreams_Refused(t *testing.T) {
	ac, _ := sealed(aliceNode(), malloryNode())
	_, bc := sealed(malloryNode(), bobNode())
	a, b := peer.NewInitiator(ac), peer.NewAcceptor(bc)
	hello := mustStart(t, a)[0]
	mustStart(t, b)
	c := mustStep(t, b, hello, peer.EventNone).(peer.Challenge)
	if err := mustRefuse(t, a, c, wire.CodeChallenge); !errors.Is(err, identity.ErrRelayed) {
		t.Errorf("error %v", err)
	}
}

// Alice's challenge as acceptor, and as initiator, shown to Bob by Mallory under
// her own name, in either role.
//
// Bar S08
func TestHandshake_ChallengeOfSomebodyElse_Refused(t *testing.T) {
	mallory := privateKey(66)
	// As acceptor Alice draws a challenge for "Bob", who dials from Mallory's node.
	ac := acceptorConfig()
	ac.SealLocal, ac.SealRemote = aliceNode(), malloryNode()
	ac.Lookup = func(identity.PublicKey) (identity.PrivateKey, bool) { return alice(), true }
	accepting := peer.NewAcceptor(ac)
	mustStart(t, accepting)
	first := mustStep(t, accepting, peer.Hello{Sender: bob().Public(), Receiver: alice().Public()}, peer.EventNone).(peer.Challenge)
	// As initiator she draws one for the Bob whom she dials at Mallory's node.
	ic, _ := sealed(aliceNode(), malloryNode())
	dialling := peer.NewInitiator(ic)
	mustStart(t, dialling)
	mustStep(t, dialling, peer.Challenge{Challenge: identity.Challenge{9}}, peer.EventNone)
	second := mustStep(t, dialling, peer.OK{}, peer.EventNone).(peer.Challenge2)

	for name, c := range map[string]identity.Challenge{"of an acceptor": first.Challenge, "of an initiator": second.Challenge} {
		t.Run(name, func(t *testing.T) {
			_, bc := sealed(malloryNode(), bobNode())
			b := peer.NewAcceptor(bc)
			mustStart(t, b)
			own := mustStep(t, b, peer.Hello{Sender: mallory.Public(), Receiver: bob().Public()}, peer.EventNone).(peer.Challenge)
			mustStep(t, b, peer.ChallengeAnswer{Signature: mallory.SignAnnounce(identity.NodeKey(own.Challenge))}, peer.EventAuthenticated)
			mustProceed(t, b, peer.EventNone)
			if err := mustRefuse(t, b, peer.Challenge2{Challenge: c}, wire.CodeChallenge); !errors.Is(err, identity.ErrRelayed) {
				t.Errorf("accepted from her: %v", err)
			}

			bi, _ := sealed(bobNode(), malloryNode())
			bi.Key, bi.Remote = bob(), mallory.Public()
			b = peer.NewInitiator(bi)
			mustStart(t, b)
			if err := mustRefuse(t, b, peer.Challenge{Challenge: c}, wire.CodeChallenge); !errors.Is(err, identity.ErrRelayed) {
				t.Errorf("dialled to her: %v", err)
			}
		})
	}
}

// An app knows nothing of seals, nor does its challenge carry one: it is answered.
func TestHandshake_ChallengeOfAnApp_Answered(t *testing.T) {
	ac, _ := sealed(aliceNode(), bobNode())
	a := peer.NewInitiator(ac)
	mustStart(t, a)
	mustStep(t, a, peer.Challenge{Challenge: identity.Challenge{9}}, peer.EventNone)
}
