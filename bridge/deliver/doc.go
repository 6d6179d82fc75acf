// SPDX-License-Identifier: MPL-2.0

// Package deliver brings the event log of the node into Matrix rooms: each event once,
// in order, for as long as it takes.
//
// The [Deliverer] (deliver.go) has a cursor, a back-off and a queue place for each
// conversation. It decides when an event is shown, and knows nothing of how: the
// connector gives it the function [Deps].Show and the jobs that remake rooms. It reads
// the event log through [Node] and moves its cursors there; rooms, portals and the
// homeserver are not its business, except that it reads from an error whether the
// homeserver asks for a pause (package homeserver).
//
// places.go bounds what runs at the same time, profiles.go spaces out changes of
// profiles, trouble.go says what is not delivered, and since when.
//
// The bridge runs the Deliverer; the connector attaches its logins to it.
package deliver
