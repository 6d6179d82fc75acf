// SPDX-License-Identifier: MPL-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
)

// pagePicture is a picture of the page that Alice's node serves.
type pagePicture struct {
	file          string
	width, height int64
	dark          bool
	at            []string // below the account
	shows         string
}

// takePage takes the pictures of a group on the page. The tests of the page's package take
// the other pictures of the page.
func (w *world) takePage(ctx context.Context, o options) error {
	ctx, stop := startBrowser(ctx, filepath.Join(w.dir, "browser-page"), o)
	defer stop()
	// Alice has seen all of the choir.
	choir, err := w.alice.Client.Conversation(ctx, "-", w.choir)
	if err != nil {
		return err
	}
	if choir.Last == nil {
		return errors.New("nothing was said in the choir")
	}
	if _, err := w.alice.Client.MarkRead(ctx, "-", w.choir, choir.Last.Order); err != nil {
		return err
	}
	link, err := w.alice.Client.PageLink(ctx)
	if err != nil {
		return err
	}
	at, err := url.Parse(link.URL)
	if err != nil {
		return err
	}
	if err := chromedp.Run(ctx,
		chromedp.Navigate(link.URL), chromedp.Click("form button.primary", chromedp.ByQuery), shown("nav.side .chats"),
	); err != nil {
		return fmt.Errorf("log in to the page: %w", err)
	}
	for _, p := range []pagePicture{
		{"page-group.png", 1280, 800, false, []string{"c", w.choir}, choirLast},
		{"page-group-phone.png", 390, 844, true, []string{"c", w.choir}, choirLast},
		{"page-members.png", 1280, 800, false, []string{"c", w.choir, "about"}, "moderator"},
		{"page-members-phone.png", 390, 844, true, []string{"c", w.choir, "about"}, "moderator"},
	} {
		p.at = append([]string{"a", w.alice.Account.ID}, p.at...)
		if err := p.take(ctx, at.Scheme+"://"+at.Host, o.out); err != nil {
			return fmt.Errorf("%s: %w", p.file, err)
		}
	}
	return nil
}

// take opens the page and writes what the browser shows.
func (p pagePicture) take(ctx context.Context, base, dir string) error {
	address, err := url.JoinPath(base, p.at...)
	if err != nil {
		return err
	}
	scheme := "light"
	if p.dark {
		scheme = "dark"
	}
	var shot []byte
	if err := chromedp.Run(ctx,
		chromedp.EmulateViewport(p.width, p.height),
		emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}),
		chromedp.Navigate(address),
		whenTrue(fmt.Sprintf("document.body.innerText.includes(%q)", p.shows)),
		whenTrue(`[...document.images].every(i => i.complete || i.getBoundingClientRect().top > innerHeight || i.offsetParent === null)`),
		whenTrue(`(log => !log || log.scrollTop + log.clientHeight > log.scrollHeight - 90)(document.getElementById("log"))`),
		still(&shot),
	); err != nil {
		return err
	}
	return writePicture(filepath.Join(dir, p.file), shot)
}

// writePicture writes a picture that is not too large.
func writePicture(path string, shot []byte) error {
	if len(shot) > maxPicture {
		return fmt.Errorf("it has %d bytes, more than %d", len(shot), maxPicture)
	}
	fmt.Fprintf(os.Stdout, "  %s, %d KiB\n", filepath.Base(path), len(shot)>>10)
	return os.WriteFile(path, shot, 0o644) //nolint:gosec // for everybody to read
}
