// SPDX-License-Identifier: MPL-2.0

package actorstest

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/actors/store"
)

// storeEnd is how long the store has to finish what it was told to write.
const storeEnd = time.Minute

// WriteStore opens the store of a node that is down, in dir, and calls write with it and its
// actor. It returns when both have ended, with all that went wrong.
func WriteStore(dir string, write func(kernel.Ref, *store.Store) error) (err error) {
	s, err := store.Open(store.Options{Dir: dir})
	if err != nil {
		return err
	}
	system := kernel.NewSystem(kernel.Options{Logger: slog.New(slog.DiscardHandler)})
	defer func() {
		ctx, cancel := context.WithTimeout(context.Background(), storeEnd)
		defer cancel()
		err = errors.Join(err, system.Stop(ctx), s.Close())
	}()
	ref, err := system.Spawn(kernel.Spec{
		Name: "store", Kind: "store", Resident: true, New: func() kernel.Actor { return store.NewActor(s) },
	})
	if err != nil {
		return err
	}
	return write(ref, s)
}
