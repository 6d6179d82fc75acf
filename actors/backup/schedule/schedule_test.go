// SPDX-License-Identifier: MPL-2.0

package schedule_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/mimird/mimird/actors/backup/schedule"
	"github.com/mimird/mimird/actors/backup/target"
	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/actors/kernel/kerneltest"
	"github.com/mimird/mimird/test/virtual"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// memory is a target that fails when it is told to.
type memory struct {
	mu    sync.Mutex
	files map[string]string

	openErr, removeErr error
	spoil              bool // what is read back is not what was written
	stuck              bool // Create blocks until the context ends
	swept              []string
}

func (m *memory) do(change func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	change()
}

func (m *memory) names() (out []string) {
	m.do(func() { out = slices.Sorted(maps.Keys(m.files)) })
	return out
}

func (m *memory) prefixes() (out []string) {
	m.do(func() { out = slices.Clone(m.swept) })
	return out
}

// session is one connection to it.
type session struct {
	*memory
	ctx context.Context
}

func (m *memory) open(ctx context.Context) (target.Target, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return &session{m, ctx}, m.openErr
}

func (s *session) List() (out []target.Entry, err error) {
	s.do(func() {
		for name, text := range s.files {
			out = append(out, target.Entry{Name: name, Size: int64(len(text))})
		}
	})
	return out, nil
}

func (s *session) Create(name string, write func(io.Writer) error) error {
	var b bytes.Buffer
	if err := write(&b); err != nil {
		return err
	}
	stuck := false
	s.do(func() { stuck = s.stuck })
	if stuck {
		<-s.ctx.Done()
		return s.ctx.Err()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, taken := s.files[name]; taken {
		return fs.ErrExist
	}
	s.files[name] = b.String()
	return nil
}

func (s *session) Open(name string) (io.ReadCloser, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	text := s.files[name]
	if s.spoil {
		text += "x"
	}
	return io.NopCloser(strings.NewReader(text)), nil
}

func (s *session) Remove(name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.removeErr == nil {
		delete(s.files, name)
	}
	return s.removeErr
}

func (s *session) Sweep(prefix string) error {
	s.do(func() { s.swept = append(s.swept, prefix) })
	return nil
}

func (s *session) Close() error { return nil }

// rig is a schedule on a stage, with its target and data directory.
type rig struct {
	t      *testing.T
	stage  *kerneltest.Stage
	target *memory
	deps   schedule.Deps
	actor  kernel.Ref
	starts int
	wrote  int
	// writeErr fails the next writes.
	writeErr error
}

func newRig(t *testing.T, change ...func(*schedule.Deps)) *rig {
	r := &rig{t: t, stage: kerneltest.NewStage(t, kernel.Options{}), target: &memory{files: map[string]string{}}}
	r.deps = schedule.Deps{
		Dir: t.TempDir(), Node: "00112233", Where: "memory", Every: 24 * time.Hour, TooOld: 72 * time.Hour, Keep: schedule.Keep{Last: 2},
		Open: r.target.open, Now: time.Now,
		Write: func(_ context.Context, w io.Writer) ([]string, error) {
			var err error
			n := 0
			r.target.do(func() { r.wrote++; n, err = r.wrote, r.writeErr })
			if err == nil {
				_, err = fmt.Fprintf(w, "backup %d", n)
			}
			return []string{"a file that is lost"}, err
		},
		Verify: func(_ context.Context, in io.Reader) error {
			raw, err := io.ReadAll(in)
			if strings.HasSuffix(string(raw), "x") {
				err = errors.New("not what was written")
			}
			return err
		},
	}
	for _, c := range change {
		c(&r.deps)
	}
	r.start()
	return r
}

func (r *rig) start() {
	r.starts++
	r.actor = r.stage.Spawn(r.t, kernel.Spec{
		Name: fmt.Sprint("backups", r.starts), Kind: "backups", New: func() kernel.Actor { return schedule.New(r.deps) },
	})
}

func (r *rig) restart() {
	r.stage.Stop(r.actor)
	kerneltest.Await[kernel.ChildStopped](r.t, r.stage.Probe, time.Minute)
	r.start()
}

// made is how many backups were written.
func (r *rig) made() (n int) {
	r.target.do(func() { n = r.wrote })
	return n
}

func (r *rig) status() schedule.Status {
	r.t.Helper()
	s, err := kernel.Ask[schedule.Status](r.t.Context(), r.actor, schedule.StatusRequest{})
	if err != nil {
		r.t.Fatal(err)
	}
	return s
}

func TestSchedule_FirstSoonThenEveryDay_OldOnesRemoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.target.do(func() {
			r.target.files["mimird-99887766-20000101-000000Z.tar.zst.age"] = "of another node"
			r.target.files["holiday.jpg"] = "of a person"
		})
		virtual.Sleep(30 * time.Second)
		if s := r.status(); s.LastGood != nil || s.TooOld || s.Problem() != "" || !s.Next.After(time.Now()) {
			t.Errorf("before the first: %+v", s)
		}
		virtual.Sleep(31 * time.Second)
		s := r.status()
		if s.LastGood == nil || s.Kept != 1 || s.LastGood.Bytes != 8 || len(s.LastGood.Left) != 1 || s.Failures != 0 {
			t.Fatalf("after a minute: %+v", s)
		}
		virtual.Sleep(23 * time.Hour)
		if got := r.status(); got.LastGood.Name != s.LastGood.Name {
			t.Errorf("too early: %+v", got)
		}
		virtual.Sleep(3 * 24 * time.Hour)
		if r.made() != 4 {
			t.Errorf("%d backups in four days", r.made())
		}
		names := r.target.names()
		if len(names) != 4 || names[0] != "holiday.jpg" || !strings.HasPrefix(names[3], "mimird-99887766-") {
			t.Errorf("there are %v", names)
		}
		if s = r.status(); s.Kept != 2 || s.LastGood.Name != names[2] {
			t.Errorf("%+v of %v", s, names)
		}
		if len(r.target.prefixes()) != 4 || r.target.prefixes()[0] != "mimird-00112233-" {
			t.Errorf("swept %v", r.target.prefixes())
		}
	})
}

func TestSchedule_Restart_MakesNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		virtual.Sleep(2 * time.Minute)
		before := r.status()
		for range 5 {
			r.restart()
			virtual.Sleep(2 * time.Minute)
		}
		if s := r.status(); r.made() != 1 || s.LastGood == nil || !s.LastGood.Time.Equal(before.LastGood.Time) || s.Kept != 1 {
			t.Errorf("%d made; %+v", r.made(), s)
		}
		// Another target has none of ours.
		r.deps.Where = "elsewhere"
		r.restart()
		virtual.Sleep(2 * time.Minute)
		if s := r.status(); r.made() != 2 || s.Target != "elsewhere" || s.LastGood == nil {
			t.Errorf("%d made; %+v", r.made(), s)
		}
	})
}

// What fails is retried, ever more rarely, and does not remove what is good. When
// it lasts, the status says so, also after a restart.
func TestSchedule_Failures_RetriedAndToldInTheEnd(t *testing.T) {
	for name, fail := range map[string]func(r *rig, fails bool){
		"target out of reach": func(r *rig, fails bool) {
			r.target.openErr = nil
			if fails {
				r.target.openErr = errors.New("no route")
			}
		},
		"node cannot write": func(r *rig, fails bool) {
			r.writeErr = nil
			if fails {
				r.writeErr = errors.New("no space")
			}
		},
		"target spoils it": func(r *rig, fails bool) { r.target.spoil = fails },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				virtual.Sleep(25*time.Hour + time.Minute) // two good ones
				good := r.target.names()
				r.target.do(func() { fail(r, true) })
				virtual.Sleep(30 * time.Hour)
				s := r.status()
				if s.Failures < 3 || s.Failures > 20 || s.Error == "" || s.TooOld || s.Problem() != "" || !s.Next.After(time.Now()) {
					t.Errorf("after some hours: %+v", s)
				}
				if got := r.target.names(); !slices.Equal(got, good) || len(good) != 2 {
					t.Errorf("there are %v, there were %v", got, good)
				}
				virtual.Sleep(48 * time.Hour)
				r.restart()
				if s = r.status(); !s.TooOld || !strings.Contains(s.Problem(), "last good backup") || !strings.Contains(s.Problem(), s.Error) {
					t.Errorf("after days: %+v, %q", s, s.Problem())
				}
				r.target.do(func() { fail(r, false) })
				virtual.Sleep(7 * time.Hour)
				if s = r.status(); s.Failures != 0 || s.TooOld || s.Problem() != "" || s.Kept != 2 {
					t.Errorf("when it is over: %+v", s)
				}
			})
		})
	}
}

func TestSchedule_NeverGood_TellsToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.target.do(func() { r.target.openErr = errors.New("no route") })
		virtual.Sleep(73 * time.Hour)
		r.restart()
		if s := r.status(); !s.TooOld || !strings.Contains(s.Problem(), "no good backup at memory") {
			t.Errorf("%+v, %q", s, s.Problem())
		}
	})
}

// A target that hangs holds up neither the status nor the stop of the node, and the
// attempt has an end.
func TestSchedule_TargetHangs_AttemptEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.target.do(func() { r.target.stuck = true })
		virtual.Sleep(5 * time.Minute)
		if s := r.status(); s.Running.IsZero() || s.Failures != 0 {
			t.Errorf("under way: %+v", s)
		}
		r.restart() // within its time
		virtual.Sleep(time.Minute + time.Second)
		if s := r.status(); s.Running.IsZero() || s.Failures != 0 {
			t.Errorf("a stop counts as a failure: %+v", s)
		}
		virtual.Sleep(31 * time.Minute)
		if s := r.status(); s.Failures != 1 || !strings.Contains(s.Error, "no byte has moved") {
			t.Errorf("%+v", s)
		}
	})
}

// A backup that nobody has read back never counts as one: neither after a crash in
// between, nor when it could not be removed at once.
func TestSchedule_Unverified_RemovedLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.target.do(func() { r.target.spoil, r.target.removeErr = true, errors.New("denied") })
		virtual.Sleep(62 * time.Second)
		bad := r.target.names()
		if len(bad) != 1 || r.status().LastGood != nil {
			t.Fatalf("there are %v; %+v", bad, r.status())
		}
		r.restart()
		r.target.do(func() { r.target.spoil = false })
		virtual.Sleep(10 * time.Minute)
		if s := r.status(); s.LastGood != nil || len(r.target.names()) != 1 {
			t.Errorf("%+v, %v", s, r.target.names())
		}
		r.target.do(func() { r.target.removeErr = nil })
		virtual.Sleep(time.Hour)
		if s := r.status(); s.LastGood == nil || s.Kept != 1 || slices.Equal(r.target.names(), bad) {
			t.Errorf("%+v, %v", s, r.target.names())
		}
	})
}

func TestSchedule_OldOnesStay_StatusSaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.target.do(func() { r.target.removeErr = errors.New("denied") })
		virtual.Sleep(50 * time.Hour)
		if s := r.status(); s.LastGood == nil || s.Kept != 3 || !strings.Contains(s.Problem(), "cannot be removed: denied") {
			t.Errorf("%+v, %q", s, s.Problem())
		}
	})
}

// A clock that was wrong neither stops backups nor makes them all at once.
func TestSchedule_ClockJumps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var ahead time.Duration
		var mu sync.Mutex
		jump := func(d time.Duration) { mu.Lock(); ahead = d; mu.Unlock() }
		r := newRig(t, func(d *schedule.Deps) {
			d.Now = func() time.Time { mu.Lock(); defer mu.Unlock(); return time.Now().Add(ahead) }
		})
		jump(10 * 365 * 24 * time.Hour)
		virtual.Sleep(2 * time.Minute)
		jump(0)
		virtual.Sleep(time.Hour)
		if r.made() != 2 {
			t.Errorf("%d made after a jump back", r.made())
		}
		jump(48 * time.Hour) // a laptop that slept
		virtual.Sleep(11 * time.Minute)
		if r.made() != 3 || r.status().TooOld {
			t.Errorf("%d made after a jump forward", r.made())
		}
		virtual.Sleep(20 * time.Hour)
		if r.made() != 3 {
			t.Errorf("%d made on one day", r.made())
		}
	})
}

func TestSchedule_MakeNow_OneAtATimeAndTheNextADayLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		now := func() bool {
			begun, err := kernel.Ask[bool](t.Context(), r.actor, schedule.MakeNow{})
			if err != nil {
				t.Fatal(err)
			}
			return begun
		}
		if !now() { // before the first
			t.Error("nothing is begun")
		}
		virtual.Sleep(2 * time.Second)
		if r.made() != 1 || r.status().LastGood == nil {
			t.Errorf("%d backups: %+v", r.made(), r.status())
		}
		virtual.Sleep(12 * time.Hour)
		if !now() {
			t.Error("no second one is begun")
		}
		virtual.Sleep(23 * time.Hour)
		if r.made() != 2 {
			t.Errorf("%d backups, want the two that were asked for", r.made())
		}
		virtual.Sleep(2 * time.Hour) // a day after the last one, and once
		if r.made() != 3 {
			t.Errorf("%d backups, want one more", r.made())
		}
		r.target.do(func() { r.target.stuck = true })
		if !now() {
			t.Error("no third one is begun")
		}
		virtual.Sleep(time.Second)
		if now() {
			t.Error("two run at once")
		}
	})
}
