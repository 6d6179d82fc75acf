// SPDX-License-Identifier: MPL-2.0

package budget_test

import (
	"flag"
	"fmt"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/mimird/mimird/test/grouphost"
)

var all = flag.Bool("all", false, "measure everything, which takes minutes and an idle machine")

// patience bounds how long a broken test takes.
func patience() time.Duration {
	if *all {
		return 10 * time.Minute
	}
	return 2 * time.Minute
}

func TestMain(m *testing.M) {
	if served, err := grouphost.Serve(); served {
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	if order := os.Getenv(orderVariable); order != "" {
		if err := obey(order); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

// show prints a line of the table.
func show(format string, args ...any) { fmt.Printf("budget "+format+"\n", args...) }
