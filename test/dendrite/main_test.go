// SPDX-License-Identifier: MPL-2.0

package dendrite_test

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/mimird/mimird/test/dendrite"
)

const (
	// fakeGoEnv makes the test program act as the go command: it says how.
	fakeGoEnv = "MIMIRD_TEST_FAKE_GO"
	// starterEnv makes the test program start a server in the folder it names,
	// print its address, and wait to be killed.
	starterEnv = "MIMIRD_TEST_STARTER"
)

func TestMain(m *testing.M) {
	if how := os.Getenv(fakeGoEnv); how != "" {
		os.Exit(fakeGo(how, os.Args[1:]))
	}
	if dir := os.Getenv(starterEnv); dir != "" {
		os.Exit(starter(dir))
	}
	goleak.VerifyTestMain(m)
}

// fakeGo answers `list` with two packages and writes a file for `build`. It
// notes each build in the file that how names after the colon.
func fakeGo(how string, args []string) int {
	how, note, _ := strings.Cut(how, ":")
	if args[0] == "list" {
		fmt.Println("one\ntwo")
		return 0
	}
	if log, err := os.OpenFile(note, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600); err == nil {
		fmt.Fprintln(log, "build")
		_ = log.Close()
	}
	switch how {
	case "fail":
		fmt.Fprintln(os.Stderr, "one: syntax error")
		return 1
	case "hang":
		untilKilled()
	}
	fmt.Fprintln(os.Stderr, "one\ntwo")
	for i, arg := range args {
		if arg == "-o" {
			if err := os.WriteFile(args[i+1], []byte("program"), 0o755); err != nil {
				return 2
			}
		}
	}
	return 0
}

func starter(dir string) int {
	server, err := dendrite.Start(context.Background(), dendrite.Options{Dir: dir})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Println(server.URL())
	untilKilled()
	return 0
}

// untilKilled returns when the process is asked to end, if it is not killed.
func untilKilled() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	<-ctx.Done()
}
