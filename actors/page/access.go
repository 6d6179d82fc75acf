// SPDX-License-Identifier: MPL-2.0

package page

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"golang.org/x/crypto/scrypt"
	"golang.org/x/time/rate"

	"github.com/mimird/mimird/actors/control/browsers"
	"github.com/mimird/mimird/actors/durable"
)

const (
	// linkLife is how long a one-time link lets somebody in.
	linkLife = 10 * time.Minute
	// maxLinks bounds the links that nobody has used yet; the oldest is evicted.
	maxLinks = 20
	// sessionIdle ends a session that is not used, sessionLife every session.
	sessionIdle = 30 * 24 * time.Hour
	sessionLife = 365 * 24 * time.Hour
	// maxSessions bounds the sessions; the one that was not used for longest is evicted.
	maxSessions = 50
	// usedEvery is how exactly it is stored when a session was last used.
	usedEvery = time.Hour
	// minPassword and maxPassword bound a password, in characters and in bytes.
	minPassword = 10
	maxPassword = 1024
	// maxAccessFile bounds what is read.
	maxAccessFile = 1 << 20
	// maxAgent bounds what is kept of a browser's name for itself.
	maxAgent = 200
)

// A try of a password costs 32 MiB and about a tenth of a second, so one runs at a time,
// and there are at most guessBurst at once and one in guessEvery after that, whatever their source.
const (
	scryptN, scryptR, scryptP = 1 << 15, 8, 1
	guessEvery                = 5 * time.Second
	guessBurst                = 10
)

var (
	// ErrPassword means that a new password is too short or too long.
	ErrPassword = fmt.Errorf("a password has at least %d characters and at most %d bytes", minPassword, maxPassword)
	// ErrNoSession means that there is no such session.
	ErrNoSession = errors.New("no such session")

	errWrongPassword = errors.New("wrong password")
	errTooMany       = errors.New("too many attempts")
)

// Access knows who may see the page: the sessions of browsers, the password, and the
// one-time links. It implements [browsers.Page] and is safe for concurrent use. Its file
// has no secrets in the clear: of tokens it has hashes, of the password a salted one.
type Access struct {
	path string
	now  func() time.Time
	// guesses limits the tries of a password.
	guesses *rate.Limiter
	trying  chan struct{}

	mu      sync.Mutex
	loaded  bool
	saved   accessFile
	running map[string]*session // of saved.Sessions, by id
	links   []oneTimeLink
	address string // "" while nothing is served
}

// accessFile is what outlives the process.
type accessFile struct {
	Password *passwordHash   `json:"password,omitempty"`
	Sessions []storedSession `json:"sessions"`
}

type passwordHash struct {
	Salt []byte `json:"salt"`
	Hash []byte `json:"hash"`
}

type storedSession struct {
	ID      string    `json:"id"`
	Token   string    `json:"token_sha256"`
	Created time.Time `json:"created"`
	Used    time.Time `json:"used"`
	Agent   string    `json:"agent,omitempty"`
	From    string    `json:"from,omitempty"`
}

type oneTimeLink struct {
	hash    [sha256.Size]byte
	expires time.Time
}

// session is a browser that was let in.
type session struct {
	id string
	// csrf is in every form of the session's pages.
	csrf string
	// ended is closed when the session has ended.
	ended chan struct{}
	// streams has a place for each live stream.
	streams chan struct{}
}

// NewAccess returns the access that is stored in a file, which is read when it is needed
// first and need not exist.
func NewAccess(path string) *Access {
	return &Access{
		path: path, now: time.Now, guesses: rate.NewLimiter(rate.Every(guessEvery), guessBurst),
		trying: make(chan struct{}, 1), running: make(map[string]*session),
	}
}

// loadLocked reads the file.
func (a *Access) loadLocked() error {
	if a.loaded {
		return nil
	}
	info, err := os.Stat(a.path)
	if errors.Is(err, fs.ErrNotExist) {
		a.loaded = true
		return nil
	}
	if err == nil && info.Size() > maxAccessFile {
		err = fmt.Errorf("it has %d bytes, at most %d are possible", info.Size(), maxAccessFile)
	}
	var raw []byte
	if err == nil {
		raw, err = os.ReadFile(a.path)
	}
	if err == nil {
		err = json.Unmarshal(raw, &a.saved)
	}
	if err != nil {
		return fmt.Errorf("read the sessions of the page (%s): %w", a.path, err)
	}
	for _, s := range a.saved.Sessions {
		a.running[s.ID] = newSession(s.ID)
	}
	a.loaded = true
	return nil
}

func newSession(id string) *session {
	return &session{id: id, ended: make(chan struct{}), streams: make(chan struct{}, maxStreams)}
}

// saveLocked writes the file. What is not on the disk is not in force, so the caller puts
// back what it has changed when this fails.
func (a *Access) saveLocked() error {
	raw, err := json.MarshalIndent(a.saved, "", "\t")
	if err != nil {
		return fmt.Errorf("write the sessions of the page: %w", err)
	}
	if err := durable.Replace(a.path, raw); err != nil {
		return fmt.Errorf("write the sessions of the page: %w", err)
	}
	return nil
}

// changeLocked changes what is stored, or nothing when it cannot be stored.
func (a *Access) changeLocked(change func(f *accessFile)) error {
	if err := a.loadLocked(); err != nil {
		return err
	}
	before := a.saved
	next := accessFile{Password: before.Password, Sessions: slices.Clone(before.Sessions)}
	change(&next)
	a.saved = next
	if err := a.saveLocked(); err != nil {
		a.saved = before
		return err
	}
	for id, s := range a.running {
		if !slices.ContainsFunc(next.Sessions, func(s storedSession) bool { return s.ID == id }) {
			close(s.ended)
			delete(a.running, id)
		}
	}
	return nil
}

// serve notes where the page is served, "" when it no longer is.
func (a *Access) serve(address string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.address = address
}

// Address implements [browsers.Page].
func (a *Access) Address() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.address
}

// Link implements [browsers.Page].
func (a *Access) Link() (browsers.PageLink, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.address == "" {
		return browsers.PageLink{}, browsers.ErrNotServed
	}
	code := newToken()
	link := oneTimeLink{sha256.Sum256([]byte(code)), a.now().Add(linkLife)}
	a.links = append(a.links, link)
	a.links = a.links[max(0, len(a.links)-maxLinks):]
	return browsers.PageLink{URL: a.address + "/enter?code=" + code, Expires: link.expires}, nil
}

// HasPassword implements [browsers.Page].
func (a *Access) HasPassword() (bool, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	err := a.loadLocked()
	return a.saved.Password != nil, err
}

// SetPassword implements [browsers.Page]. Sessions that a password has begun go on: they
// are ended by [Access.End].
func (a *Access) SetPassword(password string) error {
	var stored *passwordHash
	if password != "" {
		if utf8.RuneCountInString(password) < minPassword || len(password) > maxPassword {
			return ErrPassword
		}
		salt := make([]byte, 16)
		_, _ = rand.Read(salt) // it never fails
		hash, err := hashOf(password, salt)
		if err != nil {
			return err
		}
		stored = &passwordHash{Salt: salt, Hash: hash}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.changeLocked(func(f *accessFile) { f.Password = stored })
}

func hashOf(password string, salt []byte) ([]byte, error) {
	hash, err := scrypt.Key([]byte(password), salt, scryptN, scryptR, scryptP, 32)
	if err != nil {
		return nil, fmt.Errorf("hash password: %w", err)
	}
	return hash, nil
}

// Sessions implements [browsers.Page].
func (a *Access) Sessions() ([]browsers.PageSession, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := a.loadLocked(); err != nil {
		return nil, err
	}
	out := []browsers.PageSession{}
	for _, s := range a.saved.Sessions {
		if !a.expiredLocked(s) {
			out = append(out, browsers.PageSession{ID: s.ID, Created: s.Created, Used: s.Used, Agent: s.Agent, From: s.From})
		}
	}
	slices.SortStableFunc(out, func(x, y browsers.PageSession) int { return y.Used.Compare(x.Used) })
	return out, nil
}

// End implements [browsers.Page].
func (a *Access) End(id string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := a.loadLocked(); err != nil {
		return err
	}
	found := false
	err := a.changeLocked(func(f *accessFile) {
		f.Sessions = slices.DeleteFunc(f.Sessions, func(s storedSession) bool {
			is := id == "" || s.ID == id
			found = found || is
			return is
		})
	})
	if err == nil && !found && id != "" {
		return ErrNoSession
	}
	return err
}

func (a *Access) expiredLocked(s storedSession) bool {
	now := a.now()
	return now.Sub(s.Used) > sessionIdle || now.Sub(s.Created) > sessionLife
}

// visitor is what is noted about a browser, so that its owner recognises it.
type visitor struct{ agent, from string }

// enter uses up a one-time link and begins a session; ok is false for a code that is
// unknown, used or expired.
func (a *Access) enter(code string, v visitor) (token string, ok bool, err error) {
	hash := sha256.Sum256([]byte(code))
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.now()
	a.links = slices.DeleteFunc(a.links, func(l oneTimeLink) bool { return now.After(l.expires) })
	i := slices.IndexFunc(a.links, func(l oneTimeLink) bool { return subtle.ConstantTimeCompare(l.hash[:], hash[:]) == 1 })
	if i < 0 {
		return "", false, nil
	}
	if token, err = a.beginLocked(v); err == nil {
		a.links = slices.Delete(a.links, i, i+1)
	}
	return token, err == nil, err
}

// login begins a session when the password is right. Errors: errWrongPassword, errTooMany.
func (a *Access) login(ctx context.Context, password string, v visitor) (token string, err error) {
	if !a.guesses.AllowN(a.now(), 1) {
		return "", errTooMany
	}
	select {
	case a.trying <- struct{}{}:
		defer func() { <-a.trying }()
	case <-ctx.Done():
		return "", ctx.Err()
	}
	a.mu.Lock()
	err = a.loadLocked()
	stored := a.saved.Password
	a.mu.Unlock()
	if err != nil {
		return "", err
	}
	if stored == nil || len(password) > maxPassword {
		return "", errWrongPassword
	}
	hash, err := hashOf(password, stored.Salt)
	if err != nil {
		return "", err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if stored != a.saved.Password || subtle.ConstantTimeCompare(hash, stored.Hash) != 1 {
		return "", errWrongPassword
	}
	return a.beginLocked(v)
}

// beginLocked begins a session and returns the token for its cookie.
func (a *Access) beginLocked(v visitor) (token string, err error) {
	token = newToken()
	now := a.now().UTC().Truncate(time.Second)
	begun := storedSession{
		ID: newToken()[:12], Token: tokenHash(token), Created: now, Used: now,
		Agent: strings.ToValidUTF8(v.agent[:min(len(v.agent), maxAgent)], ""), From: v.from,
	}
	err = a.changeLocked(func(f *accessFile) {
		f.Sessions = slices.DeleteFunc(f.Sessions, a.expiredLocked)
		slices.SortStableFunc(f.Sessions, func(x, y storedSession) int { return y.Used.Compare(x.Used) })
		f.Sessions = append(f.Sessions[:min(len(f.Sessions), maxSessions-1)], begun)
	})
	if err != nil {
		return "", err
	}
	a.running[begun.ID] = newSession(begun.ID)
	return token, nil
}

// find returns the session of a token, nil when there is none.
func (a *Access) find(token string) (*session, error) {
	if token == "" {
		return nil, nil
	}
	hash := tokenHash(token)
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := a.loadLocked(); err != nil {
		return nil, err
	}
	i := slices.IndexFunc(a.saved.Sessions, func(s storedSession) bool {
		return subtle.ConstantTimeCompare([]byte(s.Token), []byte(hash)) == 1
	})
	if i < 0 || a.expiredLocked(a.saved.Sessions[i]) {
		return nil, nil
	}
	if now := a.now().UTC().Truncate(time.Second); now.Sub(a.saved.Sessions[i].Used) >= usedEvery {
		// That it was used is not worth failing for.
		_ = a.changeLocked(func(f *accessFile) { f.Sessions[i].Used = now })
	}
	s := a.running[a.saved.Sessions[i].ID]
	found := *s
	found.csrf = csrfOf(token)
	return &found, nil
}

// csrfOf derives the token of a session's forms from that of its cookie, which no other
// site can read.
func csrfOf(token string) string {
	sum := sha256.Sum256([]byte("mimird page form\x00" + token))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

func tokenHash(token string) string {
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:])
}

// newToken returns 256 random bits, fit for URLs and cookies.
func newToken() string {
	raw := make([]byte, 32)
	_, _ = rand.Read(raw) // it never fails
	return base64.RawURLEncoding.EncodeToString(raw)
}
