// SPDX-License-Identifier: MPL-2.0

package answering

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/aac"
	"github.com/mimird/mimird/proto/identity"
)

const (
	// MaxGreetingFile is the largest file of a greeting, in bytes.
	MaxGreetingFile = 700 << 10
	// MaxGreeting is how long a greeting may play.
	MaxGreeting = time.Minute
	// The defaults of [Options].
	defaultRing       = 10 * time.Second
	defaultMaxMessage = 2 * time.Minute
	// maxCalls bounds the calls at the same time, maxRecordings the recordings without a
	// message.
	maxCalls      = 16
	maxRecordings = 64
)

var (
	// ErrGreeting says that a file cannot be a greeting.
	ErrGreeting = errors.New("a greeting is AAC-LC audio of 44,100 Hz and one channel, as .aac or .m4a")
	errCalls    = errors.New("too many calls at the same time")
	errWaiting  = errors.New("too many recordings wait to become messages")
)

// Options configure the machine. Zero fields have the defaults.
type Options struct {
	// Ring is how long a call rings before it is answered, less than the 60 s after which
	// an app gives up. Default 10 s.
	Ring time.Duration
	// MaxMessage is how long a caller may speak. Default 2 min.
	MaxMessage time.Duration
}

// Files keeps the files of messages; see transfer.Service.Keep.
type Files interface {
	Keep(c store.Conversation, src io.Reader, size int64, accept func(store.Media) error) error
}

// Deps is what a [Machine] uses.
type Deps struct {
	// Dir is the directory of the recordings; it is created with the first one.
	Dir string
	// Store is for reading. Writer returns the actor that writes to it, zero until the node
	// is started.
	Store  *store.Store
	Writer func() kernel.Ref
	Files  Files
	Log    *slog.Logger
	// Now is the wall clock, for what is stored.
	Now     func() time.Time
	Options Options
}

// Machine is the answering machine of a node. It is safe for concurrent use.
type Machine struct {
	deps Deps
	// wake tells the keeper that a recording is complete.
	wake chan struct{}

	mu sync.Mutex
	// writing are the recordings that are being written, by the names of their files.
	writing map[string]struct{}
	waiting int // recordings that the keeper has found and not yet dealt with
}

// New returns the machine. It touches no file.
func New(deps Deps) *Machine {
	if deps.Options.Ring <= 0 {
		deps.Options.Ring = defaultRing
	}
	if deps.Options.MaxMessage <= 0 {
		deps.Options.MaxMessage = defaultMaxMessage
	}
	return &Machine{deps: deps, wake: make(chan struct{}, 1), writing: make(map[string]struct{})}
}

// Answers reports whether the machine answers the calls to an account: it has a greeting
// and the role primary. It reads the store, and may be called in Receive.
func (m *Machine) Answers(account identity.PublicKey) bool {
	a, err := m.deps.Store.Account(account)
	return err == nil && a.Greeting > 0 && a.Role == store.RolePrimary
}

// Ring is how long a call rings before it is answered.
func (m *Machine) Ring() time.Duration { return m.deps.Options.Ring }

// Calls returns the number of calls under way, and of recordings without a message.
func (m *Machine) Calls() (calls, waiting int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.writing), m.waiting
}

// Greeting is a greeting that was checked.
type Greeting struct {
	// Audio is an ADTS stream, which [store.SetGreeting] takes.
	Audio  []byte
	Length time.Duration
}

// Check reads the file of a greeting. Errors: [ErrGreeting], with what is wrong.
func Check(file []byte) (Greeting, error) {
	if len(file) > MaxGreetingFile {
		return Greeting{}, fmt.Errorf("%w: the file has %d bytes, allowed are %d", ErrGreeting, len(file), MaxGreetingFile)
	}
	audio, err := aac.Parse(file)
	switch {
	case err != nil:
		return Greeting{}, fmt.Errorf("%w: %w", ErrGreeting, err)
	case audio.Config != aac.Call():
		return Greeting{}, fmt.Errorf("%w: this one has %d Hz and %d channels", ErrGreeting, audio.Config.Rate, audio.Config.Channels)
	case audio.Duration() > MaxGreeting:
		return Greeting{}, fmt.Errorf("%w: it plays %v, allowed are %v", ErrGreeting, audio.Duration().Round(time.Second), MaxGreeting)
	}
	return Greeting{Audio: audio.AppendADTS(nil), Length: audio.Duration()}, nil
}

// greeting reads the greeting of an account.
func (m *Machine) greeting(account identity.PublicKey) ([][]byte, error) {
	file, err := m.deps.Store.Greeting(account)
	if err != nil {
		return nil, err
	}
	audio, err := aac.Parse(file)
	if err != nil {
		return nil, fmt.Errorf("greeting of account %s: %w", account.Short(), err)
	}
	return audio.Units, nil
}

// wakeKeeper has the keeper look for recordings.
func (m *Machine) wakeKeeper() {
	select {
	case m.wake <- struct{}{}:
	default: // it will look anyway
	}
}
