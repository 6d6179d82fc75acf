// SPDX-License-Identifier: MPL-2.0

package crash_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mimird/mimird/actors/control"
	"github.com/mimird/mimird/actors/control/client"
	"github.com/mimird/mimird/actors/crashpoint"
	"github.com/mimird/mimird/actors/overlay"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/test/demo"
	"github.com/mimird/mimird/test/phone"
)

// fileDeath is at which passing of a point the node dies, and what moves then.
type fileDeath struct {
	passing int
	moving  func(*filesWorld)
}

// fileCases are the points of files.
var fileCases = map[crashpoint.Name]fileDeath{
	crashpoint.BeforeFileRow:  {1, (*filesWorld).dieSending},
	crashpoint.BeforeUpload:   {1, (*filesWorld).dieSending},
	crashpoint.DuringUpload:   {3, (*filesWorld).dieSending},
	crashpoint.AfterUpload:    {1, (*filesWorld).dieSending},
	crashpoint.DuringDownload: {2, (*filesWorld).dieFetching},
	crashpoint.BeforePlace:    {1, (*filesWorld).dieFetching},
	crashpoint.AfterPlace:     {1, (*filesWorld).dieFetching},
	crashpoint.DuringArrival:  {2, (*filesWorld).dieReceiving},
	crashpoint.AfterArrival:   {1, (*filesWorld).dieReceiving},
	crashpoint.DuringData:     {2, (*filesWorld).dieWriting},
	crashpoint.DuringHosting:  {3, (*filesWorld).dieHosting},
	crashpoint.BeforeHosted:   {1, (*filesWorld).dieHosting},
	crashpoint.AfterHosted:    {1, (*filesWorld).dieHosting},
}

// requestCases are the points of files that one side has kept and the other asks for.
// make test has the first of each way.
var requestCases = []struct {
	point     crashpoint.Name
	otherwise bool // only in the long form
	fileDeath
}{
	{crashpoint.DuringArrival, false, fileDeath{2, (*filesWorld).dieRequesting}},
	{crashpoint.BeforePlace, true, fileDeath{1, (*filesWorld).dieRequesting}},
	{crashpoint.AfterPlace, true, fileDeath{1, (*filesWorld).dieRequesting}},
	{crashpoint.DuringData, false, fileDeath{2, (*filesWorld).dieServing}},
}

// Bar R03: killed while a file that was asked for comes over the data stream, in
// either direction: it is complete after the restart, once.
func TestKilledWhileRequestedFilesMove(t *testing.T) {
	t.Parallel()
	for _, death := range requestCases {
		if death.otherwise && !long() {
			continue
		}
		t.Run(string(death.point), func(t *testing.T) {
			t.Parallel()
			w := newFilesWorld(t, death.point, death.passing)
			death.moving(w)
			w.tidy()
		})
	}
}

// Bar R03: killed while a file is on its way, in either direction. It arrives once
// and whole; nobody is ever given half of one, and nothing of it is left behind.
func TestKilledWhileFilesMove(t *testing.T) {
	t.Parallel()
	for name, death := range fileCases {
		t.Run(string(name), func(t *testing.T) {
			t.Parallel()
			w := newFilesWorld(t, name, death.passing)
			death.moving(w)
			w.tidy()
		})
	}
}

// filesWorld is a node that will die, which is a file server too, and a phone with
// a file server of its own, both in this process. The phone's node is the network.
type filesWorld struct {
	*world
	network *overlay.Network
	server  *phone.FileServer
	key     phone.Key // of the node
	point   crashpoint.Name
	passing int
}

func newFilesWorld(t *testing.T, point crashpoint.Name, passing int) *filesWorld {
	t.Helper()
	dir, err := os.MkdirTemp("", "crash-") //nolint:usetesting // the paths of sockets must be short
	if err != nil {
		t.Fatal(err)
	}
	w := &filesWorld{world: &world{t: t, dir: dir, note: fmt.Sprintf("point %s: ", point)}, point: point, passing: passing}
	t.Cleanup(func() {
		w.showLogs()
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	w.relay = "tcp://" + w.freeAddress()
	nodeKey, err := identity.GenerateNodePrivateKey(rand.Reader)
	w.must(err)
	w.network, err = overlay.Open(overlay.Options{Key: nodeKey, Listen: []string{w.relay}})
	w.must(err)
	t.Cleanup(func() { w.must(w.network.Close()) })
	w.server = phone.ServeFiles(t, w.network.Stream(), phone.FileFaults{})
	// Nobody answers as a tracker: the phone is told where the node is.
	w.victim, err = demo.NewNode(program, dir, "alice", fmt.Sprintf(
		"roles: [node, files]\nlog: {level: debug}\nyggdrasil: {peers: [%q]}\ntrackers: ['%s:69']\nmedia: {server: %s}\ncalls: {answer_after: 1s}\n",
		w.relay, w.server.Key(), w.server.Key()))
	w.must(err)
	w.must(w.victim.Launch(fmt.Sprintf("%s=%s:%d", crashpoint.Env, point, passing)))
	t.Cleanup(func() { w.must(w.victim.Stop()) })
	w.must(w.victim.Ready(w.soon()))
	w.meet()
	return w
}

// run turns a phone on, which stays in touch with the node until the test ends.
func (w *filesWorld) run(p *phoneContact, node identity.NodeKey) {
	w.t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	p.stop = stop
	p.Found(p.victim, node)
	w.must(p.on())
	p.tasks.Go(func() { stayInTouch(ctx, p) })
	w.t.Cleanup(func() {
		stop()
		p.tasks.Wait()
		p.Stop()
	})
}

// meet makes node and phone contacts who have talked.
func (w *filesWorld) meet() {
	w.t.Helper()
	owner, err := identity.ParsePublicKey(w.victim.Account.ID)
	w.must(err)
	w.key = phone.Key(owner)
	status, err := w.victim.Client.Status(w.soon())
	w.must(err)
	node, err := identity.ParseNodeKey(status.Node)
	w.must(err)
	p := &phoneContact{Phone: phone.New(phone.Options{Name: "carol"}), victim: w.key, network: w.network}
	w.run(p, node)
	w.phone = p
	_, err = w.victim.Client.AddContact(w.soon(), "-", p.key())
	w.must(err)
	p.Write(w.key, "hello")
	w.eventually("a session", func() bool { return len(p.Waiting(w.key)) == 0 })
}

// stayInTouch has the phone dial whenever there is no session.
func stayInTouch(ctx context.Context, p *phoneContact) {
	tick := time.NewTicker(impatience)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if p.Session(p.victim) == nil {
			_, _ = p.Dial(ctx, p.victim) // if it fails there is a next time
		}
	}
}

func (w *filesWorld) eventually(what string, done func() bool) {
	w.t.Helper()
	if !poll(nil, done) {
		w.t.Fatalf("%sin vain: %s", w.note, what)
	}
}

// dieDoing does what makes the node come to its point, and starts it again when it
// has died. The phone is off while the node is: it would wait for its next PING to
// find out.
func (w *filesWorld) dieDoing(what func()) {
	w.t.Helper()
	what()
	w.died(w.point, w.passing)
	w.phone.Stop()
	w.must(w.victim.Start(w.soon()))
	w.must(w.phone.on())
}

// bytesOf returns the content of a unique file, of more than one encrypted piece.
func bytesOf(name crashpoint.Name) []byte {
	sum := sha256.Sum256([]byte(name))
	return bytes.Repeat(sum[:], (1<<20+300_000)/len(sum))
}

// dieSending: we send a file.
func (w *filesWorld) dieSending() {
	w.t.Helper()
	data, before := bytesOf(w.point), w.server.Files()
	send := func() (control.Message, error) {
		return w.victim.Client.SendFile(w.soon(), "-", w.phone.key(), client.NewFile{
			Body: bytes.NewReader(data), Name: string(w.point), Source: string(w.point),
		})
	}
	// The node may be gone before it answers; who does not get an answer asks again.
	w.dieDoing(func() { _, _ = send() })
	m, err := send()
	w.must(err)
	var got []phone.Message
	w.eventually("the file's message", func() bool {
		got = slices.DeleteFunc(slices.Clone(w.phone.Page(w.key).Received), func(got phone.Message) bool {
			return fmt.Sprint(int64(got.GUID)) != m.GUID
		})
		return len(got) > 0
	})
	w.eventually("nothing is under way", func() bool {
		f, err := w.victim.Client.File(w.soon(), "-", w.phone.key(), m.ID)
		return err == nil && f.State == "stored"
	})
	a, err := phone.ParseAttachment(got[0].Payload)
	w.must(err)
	plain, err := w.server.Plain(a)
	if err != nil || !bytes.Equal(plain, data) {
		w.t.Errorf("%s%d bytes of %d have arrived (%v)", w.note, len(plain), len(data), err)
	}
	if n := w.server.Files() - before; len(got) != 1 || n != 1 {
		w.t.Errorf("%s%d messages, %d files on the server", w.note, len(got), n)
	}
}

// dieFetching: the phone sends a file, we fetch it.
func (w *filesWorld) dieFetching() {
	w.t.Helper()
	data := bytesOf(w.point)
	w.dieDoing(func() {
		w.phone.Post(w.key, phone.Message{Type: phone.File, Payload: w.server.Offer(string(w.point), data).Payload()})
	})
	w.hasFile(data)
	if offsets := w.server.Offsets(); w.point == crashpoint.DuringDownload && offsets[len(offsets)-1] == 0 {
		w.t.Errorf("%sthe download did not go on where it had stopped: %v", w.note, offsets)
	}
}

// dieReceiving: the phone sends a file inside of its message.
func (w *filesWorld) dieReceiving() {
	w.t.Helper()
	data := bytesOf(w.point)
	w.dieDoing(func() {
		a := phone.Attachment{Name: string(w.point), OriginalName: string(w.point), Size: int64(len(data))}
		w.phone.Post(w.key, phone.Message{Type: phone.File, Payload: a.Inline(data)})
	})
	w.hasFile(data)
}

// dieRequesting: the phone has kept the file of its message, we ask for it.
func (w *filesWorld) dieRequesting() {
	w.t.Helper()
	data := bytesOf(w.point)
	sum := sha256.Sum256(data)
	a := phone.Attachment{Name: string(w.point), Size: int64(len(data)), Hash: hex.EncodeToString(sum[:])}
	asked := func() int { return len(w.phone.Page(w.key).Of(phone.TypeFileRequest)) }
	ctx, stop := context.WithCancel(w.t.Context())
	var answering sync.WaitGroup
	answering.Go(func() {
		for answered := 0; ; {
			if !poll(ctx.Done(), func() bool { return asked() > answered }) || ctx.Err() != nil {
				return
			}
			guid := w.phone.Page(w.key).Of(phone.TypeFileRequest)[answered].Int("guid")
			poll(ctx.Done(), func() bool {
				s := w.phone.Session(w.key)
				return s == nil || s.Answer(phone.Message{GUID: phone.GUID(guid), Type: phone.FileResponse, Payload: a.Inline(data)}) == nil
			})
			answered++
		}
	})
	defer func() {
		stop()
		answering.Wait()
	}()
	w.dieDoing(func() { w.phone.Post(w.key, phone.Message{Type: phone.File, Payload: a.Payload()}) })
	w.hasFile(data)
}

// dieServing: the phone asks for a file that we have sent.
func (w *filesWorld) dieServing() {
	w.t.Helper()
	data := bytesOf(w.point)
	sum := sha256.Sum256(data)
	m, err := w.victim.Client.SendFile(w.soon(), "-", w.phone.key(), client.NewFile{Body: bytes.NewReader(data), Name: string(w.point)})
	w.must(err)
	w.eventually("the file's message", func() bool { return len(w.phone.Page(w.key).Received) == 1 })
	guid := int64(w.phone.Page(w.key).Received[0].GUID)
	if fmt.Sprint(guid) != m.GUID {
		w.t.Fatalf("%sanother message has come", w.note)
	}
	files := func() []phone.Message { return w.phone.Page(w.key).Files }
	var asked *phone.Session
	ask := func() bool {
		s := w.phone.Session(w.key)
		if s == nil || s == asked || s.Send(phone.Frame{Type: phone.TypeFileRequest, Fields: phone.Fields{
			"guid": guid, "name": string(w.point), "hash": hex.EncodeToString(sum[:]),
		}}) != nil {
			return false
		}
		asked = s
		return true
	}
	w.dieDoing(func() { w.eventually("a session", ask) })
	w.eventually("the file", func() bool { // asked for again with every session, as the app does
		ask()
		return len(files()) > 0
	})
	if got := files(); len(got) != 1 || !bytes.HasSuffix(got[0].Payload, data) || int64(got[0].GUID) != guid {
		w.t.Errorf("%sit has come %d times, with %d bytes", w.note, len(got), len(got[0].Payload))
	}
	w.eventually("nothing is under way", func() bool {
		f, err := w.victim.Client.File(w.soon(), "-", w.phone.key(), m.ID)
		return err == nil && f.State == "stored"
	})
}

// hasFile waits until the node has a file, and looks whether it is the right one,
// and there once.
func (w *filesWorld) hasFile(data []byte) {
	w.t.Helper()
	var found []control.File
	w.eventually("the file", func() bool {
		all, err := w.victim.Client.Files(w.soon(), "-", w.phone.key())
		found = slices.DeleteFunc(all, func(f control.File) bool { return f.Name != string(w.point) })
		return err == nil && len(found) > 0 && found[0].State == "stored" && len(w.phone.Waiting(w.key)) == 0
	})
	var got bytes.Buffer
	err := w.victim.Client.ReadFile(w.soon(), "-", w.phone.key(), found[0].Message, &got)
	if err != nil || !bytes.Equal(got.Bytes(), data) {
		w.t.Errorf("%s%d bytes of %d have arrived (%v)", w.note, got.Len(), len(data), err)
	}
	if len(found) != 1 {
		w.t.Errorf("%sit is there %d times", w.note, len(found))
	}
}

// dieWriting: we send a text that is too large for the control stream.
func (w *filesWorld) dieWriting() {
	w.t.Helper()
	text := strings.Repeat(string(w.point)+" ", 300_000/len(w.point))
	send := func() (control.Message, error) {
		return w.victim.Client.Send(w.soon(), "-", w.phone.key(), control.Text{Text: text, Source: string(w.point)})
	}
	w.dieDoing(func() { _, _ = send() })
	m, err := send()
	w.must(err)
	count := func() (n int) {
		for _, got := range w.phone.Page(w.key).Received {
			if fmt.Sprint(int64(got.GUID)) != m.GUID {
				continue
			}
			if n++; string(got.Payload) != text {
				w.t.Errorf("%s%d bytes of %d have arrived", w.note, len(got.Payload), len(text))
			}
		}
		return n
	}
	w.eventually("the text", func() bool { return count() > 0 })
	w.eventually("nothing waits", func() bool {
		accounts, err := w.victim.Client.Accounts(w.soon())
		return err == nil && accounts[0].Waiting == 0
	})
	if n := count(); n != 1 {
		w.t.Errorf("%sit has come %d times", w.note, n)
	}
}

// dieHosting: somebody puts a file on our server. What the server has said OK to is
// there, what it has not is there whole or not at all.
func (w *filesWorld) dieHosting() {
	w.t.Helper()
	data := bytesOf(w.point)
	hash := sha256.Sum256(data)
	w.dieDoing(func() {
		client := w.login()
		ended := w.victim.Process().Ended()
		var work sync.WaitGroup
		work.Go(func() {
			if _, err := client.Upload(data); err == nil {
				w.t.Errorf("%sthe last chunk was answered", w.note)
			}
		})
		poll(ended, func() bool { return false })
		client.Abort()
		work.Wait()
	})
	client := w.login()
	defer client.Abort()
	got, err := client.Download(hash, 0)
	switch {
	case w.point == crashpoint.AfterHosted && err == nil && bytes.Equal(got, data):
	case w.point != crashpoint.AfterHosted && err != nil && err.Error() == "file not found":
	default:
		w.t.Errorf("%s%d bytes of %d are served (%v)", w.note, len(got), len(data), err)
	}
	_, err = client.Upload(data)
	w.must(err)
	if got, err = client.Download(hash, 0); err != nil || !bytes.Equal(got, data) {
		w.t.Errorf("%s%d bytes of %d are served after another upload (%v)", w.note, len(got), len(data), err)
	}
}

// login connects the phone to the node's file server.
func (w *filesWorld) login() *phone.FileClient {
	w.t.Helper()
	var client *phone.FileClient
	var failed error
	w.eventually("the node's file server", func() bool {
		status, err := w.victim.Client.Status(w.soon())
		if failed = err; err != nil || status.FilesRole == nil {
			return false
		}
		key, err := identity.ParseNodeKey(status.FilesRole.Key)
		w.must(err)
		ctx, stop := context.WithTimeout(w.t.Context(), 5*time.Second)
		defer stop()
		if client, failed = phone.DialFiles(ctx, w.network.Stream(), key); failed != nil {
			return false
		}
		if failed = client.Login(w.phone.Identity()); failed != nil {
			client.Abort()
		}
		return failed == nil
	})
	return client
}

// tidy checks what the node has on its disk: whole files under the names that their
// content gives them, and nothing of what was on its way.
func (w *filesWorld) tidy() {
	w.t.Helper()
	var wrong []string
	w.eventually("only whole files are left", func() bool {
		wrong = nil
		for dir, whole := range map[string]bool{
			"media/files": true, "media/partial": false, "files/hosted": true, "files/uploads": false,
		} {
			err := filepath.WalkDir(filepath.Join(w.victim.Dir, filepath.FromSlash(dir)), func(path string, entry fs.DirEntry, err error) error {
				if err != nil || entry.IsDir() {
					return err
				}
				data, err := os.ReadFile(path)
				if err != nil {
					return err
				}
				if sum := sha256.Sum256(data); !whole || hex.EncodeToString(sum[:]) != entry.Name() {
					wrong = append(wrong, path)
				}
				return nil
			})
			if err != nil && !errors.Is(err, fs.ErrNotExist) { // removed meanwhile
				w.t.Fatal(err)
			}
		}
		return len(wrong) == 0
	})
}
