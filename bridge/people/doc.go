// SPDX-License-Identifier: MPL-2.0

// Package people has how the people of the bridge look in Matrix: what they are called
// ([Names]), the profiles of their ghosts ([Ghosts]), and whether the bridge may still act as
// its own users ([Puppets]).
//
// It knows nothing of rooms and conversations. The connector builds the three and runs the
// latter two. Everything may be called from any goroutine; what is stored about strangers
// is bounded, and profiles are retried with a back-off.
package people
