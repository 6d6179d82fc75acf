// SPDX-License-Identifier: MPL-2.0

package peer

import "github.com/mimird/mimird/proto/wire"

// Reaction is the payload of a [TypeReaction] message. Of one sender only the
// latest reaction to a target counts, by [NormalizeSendTime] of the message.
type Reaction struct {
	// Emoji is any text; "" takes the reaction back.
	Emoji string
	// Target is the message reacted to. The message's ReplyTo says the same.
	Target GUID
}

// AppendTo appends the payload.
func (x Reaction) AppendTo(b []byte) []byte {
	b = append(b, `{"emoji":`...)
	b = wire.AppendJSONText(b, x.Emoji)
	b = append(b, ',')
	return append(appendMember(b, "replyTo", int64(x.Target)), '}')
}

// ParseReaction reads the payload of a reaction. A target of 0 or an emoji of
// more than wire.MaxEmoji bytes is a violation; it spoils that message, not
// necessarily the session.
func ParseReaction(payload []byte) (Reaction, error) {
	o, err := wire.ParseObject(payload)
	if err != nil {
		return Reaction{}, err
	}
	x := Reaction{Target: GUID(o.Int64("replyTo"))}
	if x.Target == 0 {
		return Reaction{}, wire.NewViolation(wire.CodeMissing, "reaction without target")
	}
	if x.Emoji, err = o.Text("emoji", wire.MaxEmoji); err != nil {
		return Reaction{}, err
	}
	return x, nil
}
