// SPDX-License-Identifier: MPL-2.0

//go:build postgres

package bridge_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"maunium.net/go/mautrix/event"

	"github.com/mimird/mimird/bridge"
	"github.com/mimird/mimird/bridge/postgres"
	"github.com/mimird/mimird/proto/peer"
	"github.com/mimird/mimird/test/poll"
)

// These tests want a PostgreSQL server on this machine (initdb and postgres in PATH) and
// run with: make postgres-test

// With the tag the tests have the tables of the bridge in PostgreSQL.
func init() {
	placeDatabase = func(w *world) { w.config.Database.Type, w.config.Database.URI = "postgres", newDatabase(w.t) }
}

// A bridge with two logins, contacts and groups is moved: everything goes on in the same
// rooms, and nothing is shown again.
func TestPostgres_Moved_GoesOn(t *testing.T) {
	place := placeDatabase
	placeDatabase = func(*world) {}
	defer func() { placeDatabase = place }()
	f := newGroupFixture(t)
	before, err := f.alice.SendText(soon(t), f.bobAsContact, "from the file")
	if err != nil {
		t.Fatal(err)
	}
	f.await("it is queued", func() bool { return len(f.node.outgoing(f.account, f.bob)) == 1 })
	f.stop()

	uri := newDatabase(t)
	target, err := f.config.InPostgres(uri)
	if err != nil {
		t.Fatal(err)
	}
	copyTables := func() ([]postgres.Table, error) {
		from, err := f.config.OpenDatabase(t.Context(), f.dir, zerolog.Nop())
		if err != nil {
			t.Fatal(err)
		}
		defer from.Close()
		to, err := target.OpenDatabase(t.Context(), f.dir, zerolog.Nop())
		if err != nil {
			t.Fatal(err)
		}
		defer to.Close()
		return postgres.Copy(t.Context(), from, to)
	}
	// A row that cannot be stored there: nothing is copied.
	breakRow := func(value string) {
		from, err := f.config.OpenDatabase(t.Context(), f.dir, zerolog.Nop())
		if err != nil {
			t.Fatal(err)
		}
		defer from.Close()
		if _, err := from.RawDB.ExecContext(t.Context(), value); err != nil {
			t.Fatal(err)
		}
	}
	breakRow("INSERT INTO kv_store (bridge_id, key, value) VALUES ('', 'broken', 'a' || char(0))")
	if _, err := copyTables(); err == nil || !contains(err.Error(), "kv_store") {
		t.Fatalf("copied what PostgreSQL cannot store: %v", err)
	}
	breakRow("DELETE FROM kv_store WHERE key='broken'")
	tables, err := copyTables() // again
	if err != nil {
		t.Fatal(err)
	}
	rows := make(map[string]int64)
	for _, table := range tables {
		rows[table.Name] = table.Rows
	}
	if rows["user_login"] != 2 || rows["portal"] < 3 || rows["message"] < 4 || rows["mx_room_state"] < 6 {
		t.Errorf("copied %v", rows)
	}
	if _, err := copyTables(); !errors.Is(err, postgres.ErrNotEmpty) {
		t.Errorf("copied over rows: %v", err)
	}

	f.config = target
	f.start()
	f.awaitState(bridge.StateRunning)
	f.node.receive(f.account, f.bob, "from PostgreSQL")
	if _, err := f.alice.WaitText(soon(t), f.bobAsContact, f.ghost(f.bob), "from PostgreSQL"); err != nil {
		t.Fatal(err)
	}
	f.node.says(f.second, f.choir, f.carol, "lo")
	if _, err := f.anna.WaitText(soon(t), f.choirRoom, f.ghost(f.carol), "lo"); err != nil {
		t.Fatal(err)
	}
	f.awaitShown(f.choirRoom, "la", "li", "lo")
	// What was sent before is known: the reaction finds its message.
	if _, err := f.alice.Matrix.SendReaction(soon(t), f.bobAsContact, before, "👍"); err != nil {
		t.Fatal(err)
	}
	f.await("the reaction is queued", func() bool {
		queued := f.node.outgoing(f.account, f.bob)
		return len(queued) == 2 && peer.MessageType(queued[1].Type) == peer.TypeReaction
	})
	if events := f.homeserver.Timeline(f.bobAsContact); events[0].Type != event.StateCreate.Type {
		t.Errorf("the room begins with %s", events[0].Type)
	}
}

var server struct {
	once      sync.Once
	directory string
	err       error
	number    int
}

// nobody is who runs the server when the tests run as root, which PostgreSQL refuses.
const nobody = 65534

// newDatabase creates a database in a server that all tests of the process share.
func newDatabase(t *testing.T) (uri string) {
	t.Helper()
	server.once.Do(func() { server.directory, server.err = startServer() })
	if server.err != nil {
		t.Fatal(server.err)
	}
	server.number++
	name := fmt.Sprintf("bridge_%d", server.number)
	execute(t, databaseURI("postgres"), "CREATE DATABASE "+name)
	return databaseURI(name)
}

func databaseURI(name string) string {
	return "postgres:///" + name + "?user=mimird&sslmode=disable&host=" + server.directory
}

func execute(t *testing.T, uri, statement string) {
	t.Helper()
	db, err := sql.Open("postgres", uri)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.ExecContext(t.Context(), statement); err != nil {
		t.Fatal(err)
	}
}

// startServer starts a server that ends with this process, and returns the directory of its socket.
func startServer() (directory string, err error) {
	directory, err = os.MkdirTemp("", "pg")
	if err != nil {
		return "", err
	}
	command := func(name string, args ...string) *exec.Cmd {
		cmd := exec.Command(name, args...)
		cmd.Dir = directory
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGQUIT}
		if os.Getuid() == 0 {
			cmd.SysProcAttr.Credential = &syscall.Credential{Uid: nobody, Gid: nobody}
		}
		return cmd
	}
	if os.Getuid() == 0 {
		if err := os.Chown(directory, nobody, nobody); err != nil {
			return "", err
		}
	}
	data := filepath.Join(directory, "data")
	if out, err := command("initdb", "-U", "mimird", "-A", "trust", "-E", "UTF8", "--no-sync", "-D", data).CombinedOutput(); err != nil {
		return "", fmt.Errorf("initdb: %w: %s", err, out)
	}
	run := command("postgres", "-D", data, "-k", directory, "-c", "listen_addresses=", "-c", "fsync=off", "-c", "max_connections=200")
	log, err := os.Create(filepath.Join(directory, "log"))
	if err != nil {
		return "", err
	}
	run.Stdout, run.Stderr = log, log
	if err := run.Start(); err != nil {
		return "", err
	}
	atExit = append(atExit, func() {
		_ = run.Process.Signal(syscall.SIGQUIT)
		_ = run.Wait()
		_ = os.RemoveAll(directory)
	})
	return directory, awaitServer(directory)
}

func awaitServer(directory string) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	db, err := sql.Open("postgres", "postgres:///postgres?user=mimird&sslmode=disable&host="+directory)
	if err != nil {
		return err
	}
	defer db.Close()
	if !poll.Until(ctx, func() bool { return db.PingContext(ctx) == nil }) {
		log, err := os.ReadFile(filepath.Join(directory, "log"))
		return fmt.Errorf("the server does not start: %s %w", log, err)
	}
	return nil
}
