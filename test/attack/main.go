// SPDX-License-Identifier: MPL-2.0

// Command attack does to a real node what strangers can do, at full size: 512 node
// keys over real Yggdrasil nodes, in every way that package actors tests in small,
// one after the other and then all at once. Meanwhile a contact logs in again and
// again.
//
// The node runs in a process of its own, so that its heap is only its own. For each
// attack and figure the command prints
//
//	attack NAME measured M bound B ok|MISSED
//
// and it exits with 1 when a bound was missed. It needs some minutes and 2 GB.
package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"sync"
	"time"

	"github.com/mimird/mimird/actors/overlay"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/test/phone"
)

// The bounds: bars R26, S04 and S14.
const (
	loginBound = 2 * time.Second
	heapBound  = 64 << 20
	// logBurst lines may come at once, on top of one a second.
	logBurst = 10
)

func main() {
	role := flag.String("role", "", "be the node (victim) or the attackers (strangers); this program starts both")
	keys := flag.Int("keys", 512, "node keys of the strangers")
	during := flag.Duration("during", 20*time.Second, "how long each attack takes")
	limit := flag.Duration("limit", 15*time.Minute, "the whole command ends then")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, *limit)
	defer cancel()
	run := func() (bool, error) { return attack(ctx, *keys, *during) }
	switch *role {
	case roleVictim:
		run = func() (bool, error) { return true, beVictim(ctx) }
	case roleStrangers:
		run = func() (bool, error) { return true, beStrangers(ctx, *keys, *during) }
	}
	ok, err := run()
	if err != nil {
		fmt.Fprintln(os.Stderr, "attack:", err)
	}
	if err != nil || !ok {
		os.Exit(1)
	}
}

// attack runs everything, and reports whether all bounds hold.
func attack(ctx context.Context, keys int, during time.Duration) (bool, error) {
	v, err := startVictim(ctx)
	if err != nil {
		return false, err
	}
	defer v.stop()
	friend, network, err := v.startFriend(ctx)
	if err != nil {
		return false, err
	}
	defer func() { _ = network.Close() }()
	defer friend.Stop()
	began := time.Now()
	s, err := startStrangers(ctx, v.at, keys, during)
	if err != nil {
		return false, err
	}
	defer s.stop()
	if err := v.settle(ctx, friend); err != nil {
		return false, err
	}
	fmt.Fprintf(os.Stdout, "%d strangers are there after %v\n", keys, time.Since(began).Round(time.Second))
	ok := true
	for _, name := range s.attacks {
		held, err := v.measure(ctx, friend, s, name, during)
		if err != nil {
			return false, fmt.Errorf("%s: %w", name, err)
		}
		ok = ok && held
	}
	return ok, nil
}

// victim is the process that is attacked.
type victim struct {
	cmd  *exec.Cmd
	at   startReport
	stop func()

	mu     sync.Mutex
	latest vitals
	cond   *sync.Cond
	ended  bool
}

// The roles of this program. Each is a process of its own: the strangers' is nice to the
// others, because in the world their work is done by machines of theirs.
const (
	roleVictim    = "victim"
	roleStrangers = "strangers"
)

// startSelf prepares this program in a role. stop ends it and waits for it.
func startSelf(ctx context.Context, role string, args ...string) (cmd *exec.Cmd, stop func(), err error) {
	self, err := os.Executable()
	if err != nil {
		return nil, nil, err
	}
	argv := append([]string{self, "-role", role}, args...)
	if role == roleStrangers {
		argv = append([]string{"nice", "-n", "19"}, argv...)
	}
	ctx, cancel := context.WithCancel(ctx)
	cmd = exec.CommandContext(ctx, argv[0], argv[1:]...) // #nosec G204 -- ourselves
	cmd.Stderr = os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	return cmd, func() {
		cancel()
		_ = cmd.Wait() // it was interrupted
	}, nil
}

// startVictim starts this program again, as the node.
func startVictim(ctx context.Context) (*victim, error) {
	cmd, stop, err := startSelf(ctx, roleVictim)
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	v := &victim{cmd: cmd}
	v.cond = sync.NewCond(&v.mu)
	lines := bufio.NewScanner(out)
	v.stop = stop
	if !lines.Scan() || json.Unmarshal(lines.Bytes(), &v.at) != nil {
		v.stop()
		return nil, errors.New("the node does not start")
	}
	go func() {
		for lines.Scan() {
			var now vitals
			if json.Unmarshal(lines.Bytes(), &now) == nil {
				v.note(now)
			}
		}
		v.mu.Lock()
		defer v.mu.Unlock()
		v.ended = true
		v.cond.Broadcast()
	}()
	return v, nil
}

func (v *victim) note(now vitals) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.latest = now
	v.cond.Broadcast()
}

// next waits for the next report of the node.
func (v *victim) next() (vitals, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	before := v.latest.Number
	for v.latest.Number == before {
		if v.ended {
			return vitals{}, errors.New("the node has ended")
		}
		v.cond.Wait()
	}
	return v.latest, nil
}

// startFriend makes the node's contact and has it log in once, so that its node key is
// known.
func (v *victim) startFriend(ctx context.Context) (*phone.Phone, *overlay.Network, error) {
	network, err := openWith(v.at.Listen, nil)
	if err != nil {
		return nil, nil, err
	}
	friend := phone.New(phone.Options{Name: friendName})
	friend.Found(phone.Key(v.at.Account), v.at.Node)
	if err := friend.Start(network.Stream()); err != nil {
		return nil, nil, errors.Join(err, network.Close())
	}
	for {
		session, err := friend.Dial(ctx, phone.Key(v.at.Account))
		if err == nil {
			pause(ctx, 3*time.Second) // it is told that it is a contact
			session.Close()
			return friend, network, nil
		}
		if ctx.Err() != nil {
			return nil, nil, errors.Join(err, network.Close())
		}
	}
}

// openWith joins the network with a new key. layer sees the packets; it may be nil.
func openWith(peer string, layer func(overlay.PacketLayer) overlay.PacketLayer) (*overlay.Network, error) {
	key, err := identity.GenerateNodePrivateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	return overlay.Open(overlay.Options{
		Key: key, Peers: []string{peer}, LayerForTest: layer,
		Limits: overlay.Limits{Connections: 1 << 20, ConnectionsPerKey: 1 << 20},
	})
}

// settleTime is how long the network may take until all find their ways in it again
// after the strangers have joined.
const settleTime = 2 * time.Minute

// settle waits until the contact logs in well within the bound, five times in a row.
func (v *victim) settle(ctx context.Context, friend *phone.Phone) error {
	began := time.Now()
	for good := 0; good < 5; {
		took, err := logIn(ctx, friend, phone.Key(v.at.Account))
		good++
		if err != nil || took > loginBound/4 {
			good = 0
		}
		if time.Since(began) > settleTime {
			return fmt.Errorf("without an attack the contact takes %v to log in: %w", took, err)
		}
		if !pause(ctx, time.Second) {
			return ctx.Err()
		}
	}
	return nil
}

// measure runs one attack and prints its figures.
func (v *victim) measure(ctx context.Context, friend *phone.Phone, s *attackers, name string, during time.Duration) (bool, error) {
	before, err := v.next()
	if err != nil {
		return false, err
	}
	ended, err := s.begin(name)
	if err != nil {
		return false, err
	}
	slowest, logins, heap := time.Duration(0), 0, int64(0)
	for running := true; running; {
		took, err := logIn(ctx, friend, phone.Key(v.at.Account))
		if err != nil {
			took = max(took, loginBound+time.Second)
			fmt.Fprintf(os.Stdout, "attack %s: the contact cannot log in: %v\n", name, err)
		}
		slowest = max(slowest, took)
		logins++
		now, err := v.next()
		if err != nil {
			return false, err
		}
		heap = max(heap, now.Heap-before.Heap)
		select {
		case err := <-ended:
			if err != nil {
				return false, err
			}
			running = false
		default:
		}
	}
	after, err := v.next()
	if err != nil {
		return false, err
	}
	lines := after.Lines - before.Lines
	allowed := int64(during/time.Second) + logBurst
	fmt.Fprintf(os.Stdout, "attack %s: %d logins, %d sessions, %d streams, %d goroutines at the end\n", name, logins, after.Sessions, after.Streams, after.Goroutines)
	return verdict(name+"/login", slowest.Seconds(), loginBound.Seconds(), "s")&
		verdict(name+"/heap", float64(heap)/(1<<20), heapBound>>20, "MiB")&
		verdict(name+"/log", float64(lines), float64(allowed), "lines") == 1, nil
}

// verdict prints one figure and returns 1 when it is within its bound.
func verdict(name string, measured, bound float64, unit string) int {
	word, ok := "ok", 1
	if measured > bound {
		word, ok = "MISSED", 0
	}
	fmt.Fprintf(os.Stdout, "attack %s measured %.1f%s bound %.0f%s %s\n", name, measured, unit, bound, unit, word)
	return ok
}

// logIn opens a session as the contact, and ends it.
func logIn(ctx context.Context, friend *phone.Phone, to phone.Key) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	start := time.Now()
	session, err := friend.Dial(ctx, to)
	took := time.Since(start)
	if err == nil {
		session.Close()
		<-session.Done()
	}
	return took, err
}
