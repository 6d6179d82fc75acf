// SPDX-License-Identifier: MPL-2.0

package kernel_test

import (
	"testing"
	"time"

	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/actors/kernel/kerneltest"
)

func TestTellReply(t *testing.T) {
	stage := kerneltest.NewStage(t, kernel.Options{})
	probe := stage.SpawnProbe(t, "probe", nil)
	echo := stage.SpawnProbe(t, "echo", func(c *kernel.Context, msg any) { c.Reply(msg) })
	probe.Tell(echo.Ref(), "hello")
	if got := kerneltest.Expect[string](t, probe, 5*time.Second); got != "hello" {
		t.Errorf("got %q", got)
	}
	stage.Stop(echo.Ref())
	got := kerneltest.Expect[kernel.ChildStopped](t, stage.Probe, 5*time.Second)
	if got.Child != echo.Ref() || got.Name != "echo" || got.Err != nil {
		t.Errorf("got %+v", got)
	}
}
