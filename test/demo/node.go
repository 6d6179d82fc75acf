// SPDX-License-Identifier: MPL-2.0

package demo

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/mimird/mimird/actors/control"
	"github.com/mimird/mimird/actors/control/client"
	"github.com/mimird/mimird/test/process"
)

// Node is a mimird in a process of its own, used through its control API.
type Node struct {
	Name string
	Dir  string
	// Account is the node's account, known after Start.
	Account control.Account
	// Client talks to the node while it runs.
	Client *client.Client

	program string
	process *process.Process
}

// NewNode makes the data directory of a node with a configuration. It does not
// start it.
func NewNode(program, dir, name, config string) (*Node, error) {
	n := &Node{Name: name, Dir: filepath.Join(dir, name), program: program}
	if err := os.MkdirAll(n.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("make node %s: %w", name, err)
	}
	if err := os.WriteFile(n.ConfigPath(), []byte(config), 0o600); err != nil {
		return nil, fmt.Errorf("make node %s: %w", name, err)
	}
	n.Client = client.New(filepath.Join(n.Dir, "control.sock"))
	return n, nil
}

// ConfigPath is the node's configuration file.
func (n *Node) ConfigPath() string { return filepath.Join(n.Dir, "mimird.yaml") }

// Start starts the process and returns when it can be talked to.
func (n *Node) Start(ctx context.Context) error {
	if err := n.Launch(); err != nil {
		return err
	}
	if err := n.Ready(ctx); err != nil {
		return errors.Join(err, n.process.Kill())
	}
	return nil
}

// Launch starts the process and waits for nothing. What is in env is added to our
// environment.
func (n *Node) Launch(env ...string) error {
	p, err := process.Start(process.Spec{
		Program: n.program,
		Args:    []string{"up", "--data", n.Dir, "--name", n.Name, "--no-qr"},
		Env:     env,
		Log:     filepath.Join(n.Dir, "log"),
	})
	if err != nil {
		return fmt.Errorf("start node %s: %w", n.Name, err)
	}
	n.process = p
	return nil
}

// Ready returns when the process can be talked to.
func (n *Node) Ready(ctx context.Context) error {
	err := until(ctx, "the node can be talked to", func() (bool, error) {
		select {
		case <-n.process.Ended():
			return false, fmt.Errorf("it has ended (%v); the end of its log:\n%s", n.process.Err(), n.process.LogTail()) //nolint:errorlint // how it ended is text here
		default:
		}
		accounts, err := n.Client.Accounts(ctx)
		if errors.Is(err, client.ErrNotRunning) || err == nil && len(accounts) == 0 {
			return false, nil
		}
		if err == nil {
			n.Account = accounts[0]
		}
		return err == nil, err
	})
	if err != nil {
		return fmt.Errorf("start node %s: %w", n.Name, err)
	}
	return nil
}

// Process is the process that was started last.
func (n *Node) Process() *process.Process { return n.process }

// Kill ends the process as a power cut would.
func (n *Node) Kill() error {
	n.Client.Close()
	return n.process.Kill()
}

// Stop ends the process in order; one that does not run is fine.
func (n *Node) Stop() error {
	n.Client.Close()
	if n.process == nil {
		return nil
	}
	return n.process.Stop()
}

// Heard returns the texts that a contact has written to the node, oldest first.
func (n *Node) Heard(ctx context.Context, contact string) ([]string, error) {
	var texts []string
	for before := uint64(0); ; {
		page, err := n.Client.Messages(ctx, "-", contact, before, 500)
		if err != nil {
			return nil, err
		}
		if len(page) == 0 {
			break
		}
		for _, m := range page {
			if m.Direction == "in" {
				texts = append(texts, m.Text)
			}
			before = m.Order
		}
	}
	for i, j := 0, len(texts)-1; i < j; i, j = i+1, j-1 {
		texts[i], texts[j] = texts[j], texts[i]
	}
	return texts, nil
}

// Contact returns what the node knows of its contact.
func (n *Node) Contact(ctx context.Context, id string) (control.Contact, error) {
	contacts, err := n.Client.Contacts(ctx, "-")
	if err != nil {
		return control.Contact{}, err
	}
	for _, c := range contacts {
		if c.ID == id {
			return c, nil
		}
	}
	return control.Contact{}, fmt.Errorf("node %s does not know %s", n.Name, id)
}
