// SPDX-License-Identifier: MPL-2.0

//go:build 386 || arm || mips || mipsle

package kernel

// Systems where int has 32 bits are not supported, and the build says so here: the registry
// of the actor library takes int(hash) modulo its size as an index, which is negative there
// for half of all names, so the first actor would panic (process_registry.go of
// protoactor-go, pseudo-version 20240822202345).
var _ = mimirdNeedsASystemOf64Bits
