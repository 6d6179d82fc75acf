// SPDX-License-Identifier: MPL-2.0

package control_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/mimird/mimird/actors/control"
	"github.com/mimird/mimird/actors/control/client"
	"github.com/mimird/mimird/actors/node"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/actors/uplink"
	"github.com/mimird/mimird/proto/identity"
)

// local serves a node of the rig without a socket.
func (r *rig) local(t *testing.T, opts control.Options) *client.Local {
	t.Helper()
	l := client.NewLocal(r.alice.Node, opts)
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

func TestBackupIsCompleteOrAnError(t *testing.T) {
	r := newRig(t)
	whole := strings.Repeat("backup", 100_000)
	left := []string{"a file called \"é\"\n", "another"}
	for name, c := range map[string]struct {
		backup func(context.Context, *node.Node, io.Writer, control.BackupRequest) ([]string, error)
		want   string // in the error
	}{
		"complete": {func(_ context.Context, n *node.Node, w io.Writer, request control.BackupRequest) ([]string, error) {
			if n != r.alice.Node || !request.WithoutHosted {
				t.Error("another node, or another request")
			}
			_, err := io.WriteString(w, whole)
			return left, err
		}, ""},
		"fails at once": {func(context.Context, *node.Node, io.Writer, control.BackupRequest) ([]string, error) {
			return nil, errors.New("no disk")
		}, "no disk"},
		"fails in the middle": {func(_ context.Context, _ *node.Node, w io.Writer, _ control.BackupRequest) ([]string, error) {
			_, err := io.WriteString(w, whole)
			return nil, errors.Join(err, errors.New("no disk any more"))
		}, "EOF"},
		"there is none": {nil, "makes no backups"},
	} {
		t.Run(name, func(t *testing.T) {
			var got bytes.Buffer
			lacks, err := r.local(t, control.Options{Backup: c.backup}).Backup(t.Context(), &got, control.BackupRequest{WithoutHosted: true})
			if c.want == "" {
				if err != nil || got.String() != whole || !slices.Equal(lacks, left) {
					t.Errorf("%d bytes without %q, %v", got.Len(), lacks, err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q in it", err, c.want)
			}
		})
	}
}

func TestCheck_SoundStore(t *testing.T) {
	r := newRig(t)
	health, err := r.client.Check(t.Context())
	if err != nil || health.Problems == nil || len(health.Problems) > 0 {
		t.Errorf("%+v, %v", health, err)
	}
}

func TestTraceTellsTheLifeOfAMessage(t *testing.T) {
	r := newRig(t)
	ctx := t.Context()
	l := r.local(t, control.Options{Consumers: []string{"reader"}})
	if _, err := l.AddContact(ctx, "-", r.bob.Link(r.bob.Account).String()); err != nil {
		t.Fatal(err)
	}
	sent, err := l.Send(ctx, "-", "bob", control.Text{Text: "hello"})
	if err != nil {
		t.Fatal(err)
	}
	steps := func(message string) (kinds []string, life control.Trace) {
		t.Helper()
		lives, err := l.Trace(ctx, "-", message)
		if err != nil || len(lives) != 1 {
			t.Fatalf("%d lives, %v", len(lives), err)
		}
		for _, s := range lives[0].Steps {
			kinds = append(kinds, s.Kind)
		}
		return kinds, lives[0]
	}
	kinds, life := steps(sent.ID)
	if len(kinds) != 1 || kinds[0] != "message_queued" || life.Message.State != "pending" || life.Contact.Name != "bob" || life.Shown["reader"] {
		t.Errorf("before bob knows us: %v %+v", kinds, life)
	}
	if _, err := r.bob.AddContact(ctx, r.bob.Account.ID, r.alice.Link(r.alice.Account)); err != nil {
		t.Fatal(err)
	}
	r.bob.Eventually("bob hears alice", func() bool { return len(r.bob.Heard(r.alice)) == 1 })
	r.alice.Eventually("it is delivered", func() bool {
		kinds, life = steps(sent.GUID) // by its guid
		return len(kinds) == 2 && kinds[1] == "message_delivered" && life.Message.State == "delivered"
	})
	last := life.Steps[1].Seq
	if err := r.alice.MoveCursor(ctx, "reader", r.alice.Account.ID, store.ContactConversation(r.bob.Account.ID), last); err != nil {
		t.Fatal(err)
	}
	if _, life = steps(sent.ID); !life.Shown["reader"] {
		t.Error("the reader has dealt with it, and that is not told")
	}
	for text, want := range map[string]int{"o0000000000000001": 404, "1": 404, "hello": 422, "0": 422, "..": 422} {
		_, err := l.Trace(ctx, "-", text)
		if refusal := new(client.Error); !errors.As(err, &refusal) || refusal.Status != want {
			t.Errorf("%q: %v, want status %d", text, err, want)
		}
	}
}

// What only reads works with a node that does not run.
func TestLocalOfANodeThatIsNotStarted(t *testing.T) {
	n, err := node.Open(node.Options{
		Dir:         t.TempDir(),
		OpenNetwork: func(identity.NodePrivateKey) (uplink.Network, error) { return nil, errors.New("not started") },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	}()
	l := client.NewLocal(n, control.Options{})
	defer func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}()
	if accounts, err := l.Accounts(t.Context()); err != nil || len(accounts) != 0 {
		t.Errorf("%v, %v", accounts, err)
	}
	if _, err := l.CreateAccount(t.Context(), "x"); err == nil || !strings.Contains(err.Error(), node.ErrNotRunning.Error()) {
		t.Errorf("writing: %v", err)
	}
	if problems, err := n.Check(); err != nil || len(problems) > 0 {
		t.Errorf("check: %v %v", problems, err)
	}
}
