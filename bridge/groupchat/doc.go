// SPDX-License-Identifier: MPL-2.0

// Package groupchat says what is particular of a group chat in a Matrix room: roles as
// power levels and back, what a mediator reports as words, and what the bot says about the
// state of a group. It is pure: values in, values out. The packages of the bridge that have
// to do with groups call it.
package groupchat
