// SPDX-License-Identifier: MPL-2.0

package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// terminal is a pseudo-terminal with a program on it, the leader of its session.
type terminal struct {
	master *os.File
	cmd    *exec.Cmd
	read   chan struct{} // closed when nothing is read any more
	ended  chan error

	mu  sync.Mutex
	out bytes.Buffer
}

// openTerminal makes a pseudo-terminal of a size.
func openTerminal(width, height uint16) (master, slave *os.File, err error) {
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("open pseudo-terminal: %w", err)
	}
	number, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	err = errors.Join(err, unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0),
		unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: height, Col: width}))
	if err == nil {
		slave, err = os.OpenFile("/dev/pts/"+strconv.Itoa(number), os.O_RDWR|unix.O_NOCTTY, 0)
	}
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("open pseudo-terminal: %w", err), unix.Close(fd))
	}
	_ = unix.SetNonblock(fd, true) // so that Close ends a Read
	return os.NewFile(uintptr(fd), "/dev/ptmx"), slave, nil
}

// terminal starts a command of mimird on a terminal of its own.
func (w *world) terminal(args []string) error {
	master, slave, err := openTerminal(80, 24)
	if err != nil {
		return err
	}
	cmd := w.command(args[2:])
	cmd.Env = append(cmd.Env, "TERM="+args[1], "LANG=C.UTF-8", "LC_ALL=", "LINES=", "COLUMNS=", "NO_COLOR=")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := errors.Join(cmd.Start(), slave.Close()); err != nil {
		return errors.Join(err, master.Close())
	}
	t := &terminal{master: master, cmd: cmd, read: make(chan struct{}), ended: make(chan error, 1)}
	w.terminals[args[0]] = t
	go func() {
		defer close(t.read)
		for buf := make([]byte, 4096); ; {
			n, err := t.master.Read(buf)
			t.mu.Lock()
			t.out.Write(buf[:n])
			t.mu.Unlock()
			if err != nil {
				return // nobody has the other end any more
			}
		}
	}()
	go func() { t.ended <- cmd.Wait() }()
	return nil
}

func (t *terminal) shown() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.out.String()
}

// close ends what is on the terminal, if it has not ended.
func (t *terminal) close() {
	_ = t.cmd.Process.Kill() // it may have ended
	_ = t.master.Close()     // (same)
	<-t.read
}

// textOf reads a text, in which \r, \n and \x are as in Go.
func textOf(arg string) (string, error) {
	text, err := strconv.Unquote(`"` + arg + `"`)
	if err != nil {
		return "", fmt.Errorf("%q: %w", arg, err)
	}
	return text, nil
}

// types types a text.
func (w *world) types(args []string) error {
	text, err := textOf(args[1])
	if err != nil {
		return err
	}
	_, err = w.terminals[args[0]].master.WriteString(text)
	return err
}

// sees waits until a text was sent to a terminal after the last one that was seen.
func (w *world) sees(args []string) error {
	text, err := textOf(args[1])
	if err != nil {
		return err
	}
	t := w.terminals[args[0]]
	if err := w.eventually(args[1]+" on the terminal", func() (bool, error) { return strings.Contains(t.shown(), text), nil }); err != nil {
		return fmt.Errorf("%w: %q", err, t.shown())
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.out.Next(bytes.Index(t.out.Bytes(), []byte(text)) + len(text))
	return nil
}

// resize changes the size of a terminal.
func (w *world) resize(args []string) error {
	width, err := strconv.ParseUint(args[1], 10, 16)
	height, err2 := strconv.ParseUint(args[2], 10, 16)
	if err = errors.Join(err, err2); err != nil {
		return err
	}
	t := w.terminals[args[0]]
	raw, err := t.master.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	err = raw.Control(func(fd uintptr) {
		inner = unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, &unix.Winsize{Row: uint16(height), Col: uint16(width)})
	})
	return errors.Join(err, inner)
}

// left waits for the end of the program on a terminal, with an exit code.
func (w *world) left(args []string) error {
	t := w.terminals[args[0]]
	select {
	case err := <-t.ended:
		if code := codeOf(err); code != args[1] {
			return fmt.Errorf("exit code %s, want %s: %q", code, args[1], t.shown())
		}
		return nil
	case <-time.After(patience):
		return fmt.Errorf("the program does not end: %q", t.shown())
	}
}

// onTerminals are the commands of scripts about terminals.
func onTerminals() map[string]func(*world, []string) error {
	return map[string]func(*world, []string) error{
		"terminal": (*world).terminal, "types": (*world).types, "sees": (*world).sees, "resize": (*world).resize, "left": (*world).left,
	}
}
