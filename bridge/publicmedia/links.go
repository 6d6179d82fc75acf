// SPDX-License-Identifier: MPL-2.0

package publicmedia

import (
	"bytes"
	"cmp"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/actors/transfer"
	"github.com/mimird/mimird/proto/identity"
)

// Path is where links lead on the listener: that of the public media of mautrix bridges.
const Path = "/_mautrix/publicmedia/"

// Ref names the message whose file a link leads to.
type Ref struct {
	Account      identity.PublicKey
	Conversation store.ConversationID
	Message      store.MessageID
}

// Open opens the file of a message. It fails when the message or its file is not on the
// node any more. It reads from the disk, and may be called from any goroutine.
type Open func(Ref) (io.ReadSeekCloser, transfer.Info, error)

// Options configures [Files].
type Options struct {
	// Address is the URL of the listener as people reach it, and Prefix the path of links
	// there, which a proxy may turn into [Path]. Empty means Path.
	Address, Prefix string
	// Key is the secret from which the key of all links is derived.
	Key string
	// Expiry is how long a link is good; 0 is for ever.
	Expiry time.Duration
	Open   Open
	Log    *slog.Logger
}

// Files makes links to files, and serves the files. It is safe for concurrent use.
type Files struct {
	opts Options
	seal cipher.AEAD

	mu     sync.Mutex
	served map[Ref]int // downloads at this moment
	total  int
}

// New returns the links of a key.
func New(opts Options) (*Files, error) {
	key, err := hkdf.Key(sha256.New, []byte(opts.Key), nil, "mimird public media", 32)
	if err != nil {
		return nil, fmt.Errorf("derive the key of links: %w", err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("derive the key of links: %w", err)
	}
	seal, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, fmt.Errorf("derive the key of links: %w", err)
	}
	return &Files{opts: opts, seal: seal, served: make(map[Ref]int)}, nil
}

// A token is what a link has behind [Path], in the letters of base64url. It is encrypted,
// so that the log of a proxy does not name people:
//
//	bytes  what
//	12     nonce
//	1      version, 1
//	8      when the link ends, Unix seconds; the largest for never
//	32     account
//	33     conversation, its kind first
//	1      direction of the message
//	8      guid of the message
//	2      variant of the message
//	16     tag of AES-256-GCM
const (
	tokenVersion = 1
	tokenSize    = 1 + 8 + 32 + 33 + 1 + 8 + 2
	tokenExtra   = 12 + 16
)

// maxNameInLink bounds the name of the file at the end of a link, in bytes. It is there
// for the reader's eye: the file is served under the name that its message has.
const maxNameInLink = 100

// Link returns a link to the file of a message, with its name at the end, and when the link
// ends: the zero time for never.
func (f *Files) Link(ref Ref, name string) (link string, ends time.Time) {
	until := uint64(math.MaxInt64)
	if f.opts.Expiry > 0 {
		ends = time.Now().Add(f.opts.Expiry).Truncate(time.Second)
		until = uint64(ends.Unix())
	}
	plain := make([]byte, 0, tokenSize)
	plain = append(plain, tokenVersion)
	plain = binary.BigEndian.AppendUint64(plain, until)
	plain = append(plain, ref.Account[:]...)
	plain = append(plain, ref.Conversation[:]...)
	plain = append(plain, byte(ref.Message.Dir))
	plain = binary.BigEndian.AppendUint64(plain, uint64(ref.Message.GUID))
	plain = binary.BigEndian.AppendUint16(plain, ref.Message.Variant)
	link = strings.TrimRight(f.opts.Address, "/") + "/" + strings.Trim(cmp.Or(f.opts.Prefix, Path), "/") + "/" +
		base64.RawURLEncoding.EncodeToString(f.seal.Seal(nil, nil, plain, nil))
	if name = nameInLink(name); name != "" {
		link += "/" + name
	}
	return link, ends
}

// nameInLink returns the letters of a name that programs recognize as part of a link in a
// text.
func nameInLink(name string) string {
	name = strings.Map(func(r rune) rune {
		if r < ' ' || strings.ContainsRune(`/\?#%&"'<>()[]{}|^*~`, r) {
			return '_'
		}
		return r
	}, name)
	for len(name) > maxNameInLink {
		name = name[1:] // its end has the kind of the file
	}
	name = strings.Trim(strings.ToValidUTF8(name, ""), " .,;:!_")
	return url.PathEscape(name)
}

// Errors of [Files.read].
var (
	errInvalid = errors.New("the link is not one of this bridge")
	errExpired = errors.New("the link has expired")
)

// read returns which file a token names.
func (f *Files) read(token string) (ref Ref, err error) {
	if len(token) != base64.RawURLEncoding.EncodedLen(tokenSize+tokenExtra) {
		return ref, errInvalid
	}
	sealed, err := base64.RawURLEncoding.Strict().DecodeString(token)
	if err != nil {
		return ref, errInvalid
	}
	plain, err := f.seal.Open(nil, nil, sealed, nil)
	if err != nil || len(plain) != tokenSize || plain[0] != tokenVersion {
		return ref, errInvalid
	}
	until := int64(binary.BigEndian.Uint64(plain[1:]))
	rest := plain[9:]
	rest = rest[copy(ref.Account[:], rest):]
	rest = rest[copy(ref.Conversation[:], rest):]
	ref.Message = store.MessageID{
		Dir: store.Direction(rest[0]), GUID: int64(binary.BigEndian.Uint64(rest[1:])), Variant: binary.BigEndian.Uint16(rest[9:]),
	}
	if time.Now().Unix() >= until {
		return ref, errExpired
	}
	return ref, nil
}

// Errors of [Test].
var (
	ErrForeign  = errors.New("something else answers there")
	ErrOtherKey = errors.New("a bridge with another signing key answers there")
)

// maxTestAnswer bounds what Test reads.
const maxTestAnswer = 4 << 10

// Test follows a link to no file, to see whether links lead to a bridge with this key. It
// is for a program beside the bridge. It ends with the context, or after 10 seconds.
func Test(ctx context.Context, opts Options) error {
	f, err := New(opts)
	if err != nil {
		return err
	}
	link, _ := f.Link(Ref{}, "")
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, link, nil)
	if err != nil {
		return err
	}
	transport := &http.Transport{DisableKeepAlives: true, Proxy: http.ProxyFromEnvironment}
	client := &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	var text bytes.Buffer
	_, err = text.ReadFrom(io.LimitReader(resp.Body, maxTestAnswer))
	switch {
	case err != nil:
		return err
	case text.String() == textGone:
		return nil
	case text.String() == textInvalid:
		return ErrOtherKey
	}
	return fmt.Errorf("%w: HTTP status %d", ErrForeign, resp.StatusCode)
}
