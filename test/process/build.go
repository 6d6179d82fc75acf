// SPDX-License-Identifier: MPL-2.0

package process

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
)

// BuildMimird compiles mimird to a path, as users get it: without a C compiler.
// flags are further ones of go build. Tests of several packages run at once: the
// first compiles, the others wait for it and find its work in the go command's
// cache.
func BuildMimird(ctx context.Context, path string, flags ...string) error {
	lock := filepath.Join(os.TempDir(), "mimird-build-"+strconv.Itoa(os.Getuid())+".lock")
	unlock, err := Lock(ctx, lock, func() {})
	if err != nil {
		return fmt.Errorf("build mimird: wait for another build: %w", err)
	}
	defer unlock()
	args := append([]string{"build", "-tags", "goolm", "-o", path}, flags...)
	build := exec.CommandContext(ctx, "go", append(args, "github.com/mimird/mimird/cmd/mimird")...)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build mimird: %w\n%s", err, out)
	}
	return nil
}
