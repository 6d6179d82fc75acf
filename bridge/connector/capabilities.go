// SPDX-License-Identifier: MPL-2.0

package connector

import (
	"context"
	"fmt"

	"github.com/mimird/mimird/bridge/config"

	"github.com/mimird/mimird/bridge/mimirid"
	"github.com/mimird/mimird/bridge/msgconv"

	"maunium.net/go/mautrix/bridgev2"
	"maunium.net/go/mautrix/event"
)

// GetCapabilities returns what can be sent from a room: clients hide what is rejected,
// and the library refuses it with a notice. Formatting is rendered to text.
func (cl *client) GetCapabilities(_ context.Context, portal *bridgev2.Portal) *event.RoomFeatures {
	edit := event.CapLevelRejected
	if cl.config.Network.Edits == config.EditsCorrection {
		edit = event.CapLevelPartialSupport
	}
	request := portal != nil && portal.MessageRequest
	group := false
	if portal != nil {
		_, conversation, err := mimirid.ParsePortal(portal.PortalKey)
		group = err == nil && cl.conversations.InGroups(conversation)
	}
	features := &event.RoomFeatures{
		// Another id makes the library send the state again.
		ID: fmt.Sprintf("im.mimir.capabilities.5+edit%d+request=%t", edit, request),
		Formatting: event.FormattingFeatureMap{
			event.FmtBlockquote:    event.CapLevelPartialSupport,
			event.FmtInlineCode:    event.CapLevelPartialSupport,
			event.FmtCodeBlock:     event.CapLevelPartialSupport,
			event.FmtInlineLink:    event.CapLevelPartialSupport,
			event.FmtUserLink:      event.CapLevelPartialSupport,
			event.FmtUnorderedList: event.CapLevelPartialSupport,
			event.FmtOrderedList:   event.CapLevelPartialSupport,
			event.FmtListStart:     event.CapLevelPartialSupport,
			event.FmtListJumpValue: event.CapLevelPartialSupport,
			event.FmtStrikethrough: event.CapLevelPartialSupport,
			event.FmtSpoiler:       event.CapLevelPartialSupport,
			event.FmtHeaders:       event.CapLevelDropped,
			event.FmtBold:          event.CapLevelDropped,
			event.FmtItalic:        event.CapLevelDropped,
			event.FmtUnderline:     event.CapLevelDropped,
		},
		MaxTextLength:   msgconv.MaxOutgoingText,
		LocationMessage: event.CapLevelPartialSupport,
		Reply:           event.CapLevelFullySupported,
		Edit:            edit,
		Delete:          event.CapLevelRejected,
		Thread:          event.CapLevelRejected,
		Poll:            event.CapLevelRejected,
		Reaction:        event.CapLevelFullySupported,
		ReactionCount:   1,
		DeleteChat:      request || !group, // declines a request
		MessageRequest: &event.MessageRequestFeatures{
			AcceptWithMessage: event.CapLevelPartialSupport, // by telling the contact both
			AcceptWithButton:  event.CapLevelFullySupported,
		},
		File: event.FileFeatureMap{
			event.MsgImage:      anyFile(event.CapLevelFullySupported),
			event.MsgFile:       anyFile(event.CapLevelFullySupported),
			event.MsgAudio:      anyFile(event.CapLevelFullySupported),
			event.MsgVideo:      anyFile(event.CapLevelFullySupported), // a file, to the apps
			event.CapMsgVoice:   anyFile(event.CapLevelFullySupported),
			event.CapMsgGIF:     anyFile(event.CapLevelFullySupported),
			event.CapMsgSticker: anyFile(event.CapLevelRejected),
		},
	}
	if !group && cl.config.Bridge.PrivateChatPortalMeta {
		features.ID += "+name"
		features.State = event.StateFeatureMap{event.StateRoomName.Type: {Level: event.CapLevelFullySupported}}
	}
	if group {
		features.ID += "+group1"
		features.Delete = event.CapLevelFullySupported
		features.State = make(event.StateFeatureMap)
		for _, kind := range []event.Type{event.StateRoomName, event.StateTopic, event.StateRoomAvatar, event.StatePowerLevels} {
			features.State[kind.Type] = &event.StateFeatures{Level: event.CapLevelFullySupported}
		}
		features.MemberActions = event.MemberFeatureMap{
			event.MemberActionInvite: event.CapLevelFullySupported, event.MemberActionBan: event.CapLevelFullySupported,
			event.MemberActionKick: event.CapLevelPartialSupport, event.MemberActionRevokeInvite: event.CapLevelRejected,
		}
	}
	return features
}

// anyFile is a file of any kind, with or without a text.
func anyFile(caption event.CapabilitySupportLevel) *event.FileFeatures {
	return &event.FileFeatures{
		MimeTypes: map[string]event.CapabilitySupportLevel{"*/*": event.CapLevelFullySupported},
		Caption:   caption, MaxCaptionLength: msgconv.MaxPartUnits,
	}
}
