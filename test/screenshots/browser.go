// SPDX-License-Identifier: MPL-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"maunium.net/go/mautrix/id"

	"github.com/mimird/mimird/test/process"
)

// The size of the browser's window, and the most bytes that a picture may have.
const (
	width, height = 1280, 900
	maxPicture    = 200 << 10
)

// settings are those of the client: pictures are shown, in a size that leaves room for
// the conversation, how a room came to be is not, and the list of rooms is of one colour.
const settings = `{
	"show_media_previews": true, "max_image_width": 256,
	"show_membership_events": false, "show_hidden_events": false, "show_profile_changes": false,
	"custom_css": ".timeline-event.small-event { display: none } :root { --room-list-background: #dfe5ea }"
}`

// takePictures logs Alice in to the client in the browser and takes the pictures.
func (w *world) takePictures(ctx context.Context, o options) error {
	address, err := w.startClient(ctx, o.client)
	if err != nil {
		return err
	}
	ctx, stop := startBrowser(ctx, filepath.Join(w.dir, "browser"), o)
	defer stop()
	err = chromedp.Run(ctx,
		chromedp.EmulateViewport(width, height),
		emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: "light"}}),
		chromedp.Navigate(address),
		shown("#mxlogin-username"),
		// What the form does, without its look-up of the server by name.
		call("client.rpc.login(%q, %q, %q)", w.homeserver.URL(), w.user.UserID().String(), userPassword),
		whenTrue("client.state.current?.is_logged_in && client.state.current.verification_state?.state_checked"),
		call("client.rpc.generateRecoveryKey().then(key => client.rpc.resetEncryption(key, %q))", userPassword),
		shown(".room-list .room-entry"),
		call("localStorage.setItem('global_prefs', %q)", settings),
		chromedp.Reload(),
		shown(".room-list .room-entry"),
	)
	if err != nil {
		return fmt.Errorf("log in to the client: %w", err)
	}
	pictures := []picture{
		{"conversation.png", height, w.room, "See you at noon!"},
		{"request.png", 600, w.carolRoom, "Will you come?"},
		{"group.png", 720, w.choirRoom, choirLast},
	}
	// Who is in a room the client fetches when somebody asks for the list of them; what
	// it has drawn by then, receipts above all, it does not draw again. After the first
	// look at a room it draws some things anew.
	for _, p := range pictures {
		err := chromedp.Run(ctx, call("client.loadRoomState(%q, {omitMembers: false, refetch: true})", p.room))
		if err == nil {
			err = p.open(ctx)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", p.file, err)
		}
	}
	for _, p := range pictures {
		if err := p.take(ctx, o.out); err != nil {
			return fmt.Errorf("%s: %w", p.file, err)
		}
	}
	return nil
}

// startBrowser starts a browser with one tab and a profile of its own. The caller calls stop.
func startBrowser(ctx context.Context, profile string, o options) (_ context.Context, stop func()) {
	flags := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.WindowSize(width, height), chromedp.UserDataDir(profile), chromedp.Flag("lang", "en-GB"))
	if os.Getuid() == 0 {
		flags = append(flags, chromedp.NoSandbox) // as root it does not start otherwise
	}
	if o.browser != "" {
		flags = append(flags, chromedp.ExecPath(o.browser))
	}
	ctx, stopBrowser := chromedp.NewExecAllocator(ctx, flags...)
	ctx, closeTab := chromedp.NewContext(ctx)
	return ctx, func() { closeTab(); stopBrowser() }
}

// startClient starts gomuks and returns when its page can be had.
func (w *world) startClient(ctx context.Context, program string) (address string, err error) {
	listen, err := process.FreeAddress(ctx)
	if err != nil {
		return "", err
	}
	root := filepath.Join(w.dir, "gomuks")
	if err := os.MkdirAll(filepath.Join(root, "config"), 0o700); err != nil {
		return "", err
	}
	// Nobody but this machine reaches it, for as long as the pictures take. It asks for
	// a password if none is there, even though it does not use it.
	config := fmt.Sprintf("web: {listen_address: %q, username: none, password_hash: none, "+
		"disable_auth_because_i_want_my_account_to_be_hacked: true}\n", listen)
	if err := os.WriteFile(filepath.Join(root, "config", "config.yaml"), []byte(config), 0o600); err != nil {
		return "", err
	}
	w.client, err = process.Start(process.Spec{Program: program, Env: []string{"GOMUKS_ROOT=" + root}, Log: filepath.Join(root, "log")})
	if err != nil {
		return "", err
	}
	address = "http://" + listen + "/"
	return address, until(ctx, "the client's page can be had", func() (bool, error) {
		select {
		case <-w.client.Ended():
			return false, errors.New("the client has ended:\n" + w.client.LogTail())
		default:
		}
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, http.NoBody)
		if err != nil {
			return false, err
		}
		answer, err := http.DefaultClient.Do(request)
		if err != nil {
			return false, nil //nolint:nilerr // it does not listen yet
		}
		_ = answer.Body.Close() // only its status counts
		return answer.StatusCode == http.StatusOK, nil
	})
}

// picture is one picture of a room.
type picture struct {
	file   string
	height int64
	room   id.RoomID
	last   string // what is written at the end
}

// open opens the room and waits until everything in it is drawn.
func (p picture) open(ctx context.Context) error {
	return chromedp.Run(ctx,
		chromedp.EmulateViewport(width, p.height),
		call("window.mainScreenContext.setActiveRoom(%q)", p.room),
		whenTrue(fmt.Sprintf("document.body.innerText.includes(%q)", p.last)),
		// What is not visible is not fetched.
		whenTrue(`[...document.images].every(i => i.offsetParent === null || (i.complete && i.naturalWidth > 0))`),
		// The client fetches a sound when somebody plays it, and its length is not known
		// before.
		whenTrue(`[...document.querySelectorAll('audio')].every(a => {
			if (a.preload === 'none' || a.error) { a.preload = 'metadata'; a.load() }
			return a.duration > 0
		})`),
	)
}

// take opens the room and writes what the browser shows.
func (p picture) take(ctx context.Context, dir string) error {
	if err := p.open(ctx); err != nil {
		return err
	}
	var shot []byte
	// Fonts and the fading in of pictures are done when two frames are the same.
	if err := chromedp.Run(ctx, still(&shot)); err != nil {
		return err
	}
	return writePicture(filepath.Join(dir, p.file), shot)
}

// still takes pictures until two in a row are the same.
func still(shot *[]byte) chromedp.Action {
	return chromedp.ActionFunc(func(ctx context.Context) error {
		last := ""
		return until(ctx, "the page is still", func() (bool, error) {
			if err := chromedp.CaptureScreenshot(shot).Do(ctx); err != nil {
				return false, err
			}
			same := string(*shot) == last
			last = string(*shot)
			return same, nil
		})
	})
}

func shown(selector string) chromedp.Action {
	return chromedp.WaitVisible(selector, chromedp.ByQuery)
}

func whenTrue(expression string) chromedp.Action {
	return chromedp.ActionFunc(func(ctx context.Context) error {
		var is bool
		if err := chromedp.Poll("!!("+expression+")", &is, chromedp.WithPollingTimeout(time.Minute)).Do(ctx); err != nil {
			return fmt.Errorf("wait in the page for %s: %w", expression, err)
		}
		return nil
	})
}

// call runs a statement of the page's own and waits for its promise.
func call(format string, args ...any) chromedp.Action {
	statement := fmt.Sprintf(format, args...)
	return chromedp.ActionFunc(func(ctx context.Context) error {
		_, thrown, err := runtime.Evaluate("Promise.resolve(" + statement + ").then(() => true)").WithAwaitPromise(true).Do(ctx)
		if err != nil {
			return err
		}
		if thrown != nil {
			return errors.New("the page: " + strconv.Quote(thrown.Error()))
		}
		return nil
	})
}
