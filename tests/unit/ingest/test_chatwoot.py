"""Chatwoot's webhooks, in their documented form, as events."""

import copy
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import InvalidEvent
from schemas.events import Event, encode_event
from streams.cli.main import main
from streams.ingest.chatwoot import MEANINGLESS, SNOOZE_REASON, UnknownWebhook, map_webhook, why_nothing

NOW = datetime(2026, 11, 22, 18, 0, tzinfo=UTC)

# The message of Chatwoot's documentation of webhook events, whole.
MESSAGE: dict[str, Any] = {
    "id": 118,
    "content": "hi",
    "created_at": "2021-07-23T18:02:48.000Z",
    "message_type": "incoming",
    "content_type": "text",
    "private": False,
    "content_attributes": {},
    "source_id": None,
    "sender": {"id": 14, "name": "little-haze-776", "avatar": "", "type": "contact"},
    "inbox": {"id": 1, "name": "Acme Support"},
    "conversation": {
        "additional_attributes": {
            "browser": {
                "device_name": "Unknown",
                "browser_name": "Chrome",
                "platform_name": "macOS",
                "browser_version": "92.0.4515.107",
                "platform_version": "10.15.7",
            },
            "referer": "http://localhost:3000/widget_tests",
            "initiated_at": {"timestamp": "Fri Jul 23 2021 23:32:48 GMT+0530 (India Standard Time)"},
        },
        "can_reply": True,
        "channel": "Channel::WebWidget",
        "id": 10,
        "inbox_id": 1,
        "contact_inbox": {
            "id": 12,
            "contact_id": 14,
            "inbox_id": 1,
            "source_id": "405f1d30-1af3-4fa0-8ffd-11ea3f86101e",
            "created_at": "2021-07-23T18:01:48.739Z",
            "updated_at": "2021-07-23T18:01:48.739Z",
            "hmac_verified": False,
        },
        "messages": [
            {
                "id": 120,
                "content": "Get notified by email",
                "account_id": 1,
                "inbox_id": 1,
                "conversation_id": 10,
                "message_type": 3,
                "created_at": 1627063369,
                "updated_at": "2021-07-23T18:02:49.000Z",
                "private": False,
                "status": "sent",
                "source_id": None,
                "content_type": "input_email",
                "content_attributes": {},
                "sender_type": None,
                "sender_id": None,
                "external_source_ids": {},
            }
        ],
        "meta": {
            "sender": {
                "additional_attributes": {},
                "custom_attributes": {},
                "email": None,
                "id": 14,
                "identifier": None,
                "name": "little-haze-776",
                "phone_number": None,
                "pubsub_token": "baRUMaAnAB6geeGXUXBsJwDS",
                "thumbnail": "",
                "type": "contact",
            },
            "assignee": {
                "id": 1,
                "name": "John",
                "available_name": "John",
                "avatar_url": "https://www.gravatar.com/avatar/0d722ac7bc3b3c92c030d0da9690d981?d=404",
                "type": "user",
                "availability_status": "online",
            },
        },
        "status": "open",
        "unread_count": 1,
        "agent_last_seen_at": 0,
        "contact_last_seen_at": 0,
        "timestamp": 1627063369,
    },
    "account": {"id": 1, "name": "Acme Inc"},
    "event": "message_created",
}

# A conversation as newer versions send it: with its own instants.
CONVERSATION: dict[str, Any] = {
    **MESSAGE["conversation"],
    "labels": [],
    "custom_attributes": {},
    "snoozed_until": None,
    "first_reply_created_at": None,
    "priority": None,
    "waiting_since": 1627063368,
    "created_at": 1627063368,
    "last_activity_at": 1627063369,
    "updated_at": 1627063369.125,
}


def changed(base: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """A copy of a payload in which `a__b=1` sets `payload["a"]["b"]`."""
    payload = copy.deepcopy(base)
    for path, value in changes.items():
        *parents, last = path.split("__")
        place = payload
        for name in parents:
            place = place[name]
        place[last] = value
    return payload


def mapped(payload: object) -> list[dict[str, Any]]:
    return [msgspec.json.decode(encode_event(event)) for event in events(payload)]


def events(payload: object) -> list[Event]:
    return map_webhook("acme", payload, NOW)


def status_change(status: str, previous: str | None) -> dict[str, Any]:
    payload = changed(CONVERSATION, status=status, event="conversation_status_changed")
    if previous is not None:
        payload["changed_attributes"] = [{"status": {"previous_value": previous, "current_value": status}}]
    return payload


# --- messages ---------------------------------------------------------------------------------------------------------


def test_the_documented_incoming_message_is_the_contacts() -> None:
    assert mapped(MESSAGE) == [
        {
            "id": "chatwoot-message-118",
            "type": "message.received",
            "account_id": "acme",
            "contact_id": "14",
            "occurred_at": "2021-07-23T18:02:48Z",
            "sequence": 118,
            "conversation_id": "10",
            "channel": "webchat",
        }
    ]


AGENT = {"id": 1, "name": "John", "email": "john@acme.inc", "type": "user"}
BOT = {"id": 3, "name": "Botty", "type": "agent_bot"}


@pytest.mark.parametrize(
    ("changes", "author"),
    [
        ({"sender": AGENT}, {"kind": "advisor", "id": "1"}),
        ({"sender": {"id": 1, "name": "Agent", "email": "agent@example.com"}}, {"kind": "advisor", "id": "1"}),
        ({"sender": BOT}, {"kind": "bot", "id": "3"}),
        ({"sender": {"id": 2, "name": "Cap", "type": "captain_assistant"}}, {"kind": "bot", "id": "2"}),
        ({"sender": None}, {"kind": "system"}),
        ({"sender": AGENT, "additional_attributes": {"campaign_id": 9}}, {"kind": "system"}),
        ({"sender": AGENT, "content_attributes": {"automation_rule_id": 4}}, {"kind": "system"}),
        ({"sender": None, "message_type": "template"}, {"kind": "system"}),
        ({"sender": AGENT, "message_type": 1}, {"kind": "advisor", "id": "1"}),
    ],
)
def test_who_wrote_an_outgoing_message(changes: dict[str, Any], author: dict[str, str]) -> None:
    (event,) = mapped(changed(MESSAGE, **{"message_type": "outgoing", **changes}))
    shown = {name: value for name, value in event["author"].items() if value is not None}
    assert (event["type"], shown, event["contact_id"]) == ("message.sent", author, "14")


def test_a_private_message_is_a_note() -> None:
    (event,) = mapped(changed(MESSAGE, message_type="outgoing", private=True, sender=AGENT))
    assert (event["type"], event["advisor_id"]) == ("note.added", "1")
    (event,) = mapped(changed(MESSAGE, message_type="outgoing", private=True, sender=BOT))
    assert event["type"] == "note.added"
    assert "advisor_id" not in event


def test_an_activity_and_webhooks_of_other_things_give_nothing() -> None:
    assert events(changed(MESSAGE, message_type="activity")) == []
    for name in ("message_updated", "webwidget_triggered", "contact_updated", "conversation_typing_on"):
        assert events({**MESSAGE, "event": name}) == []


def test_the_oldest_documented_message_is_read_too() -> None:
    payload = {
        "event": "message_created",
        "id": "1",
        "content": "Hi",
        "created_at": "2020-03-03 13:05:57 UTC",
        "message_type": "incoming",
        "content_type": "enum",
        "content_attributes": {},
        "source_id": "",
        "sender": {"id": "1", "name": "Agent", "email": "agent@example.com"},
        "contact": {"id": "7", "name": "contact-name"},
        "conversation": {"display_id": "1", "additional_attributes": {}},
        "account": {"id": "1", "name": "Chatwoot"},
    }
    (event,) = mapped(payload)
    assert (event["type"], event["id"], event["contact_id"], event["conversation_id"], event["channel"]) == (
        "message.received",
        "chatwoot-message-1",
        "7",
        "1",
        "unknown",
    )
    assert event["occurred_at"] == "2020-03-03T13:05:57Z"


@pytest.mark.parametrize(
    ("kind", "changes", "channel"),
    [
        ("Channel::Whatsapp", {}, "whatsapp"),
        ("Channel::FacebookPage", {}, "messenger"),
        ("Channel::FacebookPage", {"additional_attributes": {"type": "instagram_direct_message"}}, "instagram"),
        ("Channel::Instagram", {}, "instagram"),
        ("Channel::Email", {}, "email"),
        ("Channel::Sms", {}, "sms"),
        ("Channel::TwilioSms", {"contact_inbox": {"contact_id": 14, "source_id": "+56911111111"}}, "sms"),
        ("Channel::TwilioSms", {"contact_inbox": {"contact_id": 14, "source_id": "whatsapp:+569111"}}, "whatsapp"),
        ("Channel::WebWidget", {}, "webchat"),
        ("Channel::Api", {}, "api"),
        ("Channel::Telegram", {}, "telegram"),
        ("Channel::Line", {}, "line"),
        ("Channel::TwitterProfile", {}, "twitter"),
        ("Channel::SomethingNew", {}, "somethingnew"),
        (None, {}, "unknown"),
    ],
)
def test_the_kind_of_inbox_is_the_channel(kind: str | None, changes: dict[str, Any], channel: str) -> None:
    payload = changed(MESSAGE, conversation__channel=kind)
    payload["conversation"] |= changes
    assert mapped(payload)[0]["channel"] == channel


# --- contacts and conversations ---------------------------------------------------------------------------------------

CONTACT: dict[str, Any] = {
    "account": {"id": 1, "name": "Acme Inc"},
    "additional_attributes": {},
    "avatar": "",
    "custom_attributes": {"origin": "Instagram"},
    "email": "jane@acme.inc",
    "id": 14,
    "identifier": None,
    "name": "jane",
    "phone_number": None,
    "thumbnail": "",
    "event": "contact_created",
}


def test_a_created_contact_waits_for_nobody_and_is_dated_by_its_receipt() -> None:
    assert mapped(CONTACT) == [
        {
            "id": "chatwoot-contact-14-created",
            "type": "contact.created",
            "account_id": "acme",
            "contact_id": "14",
            "occurred_at": "2026-11-22T18:00:00Z",
            "origin": "Instagram",
            "channel": "unknown",
            "by": "import",
        }
    ]
    assert mapped(changed(CONTACT, custom_attributes={}))[0]["origin"] is None


def test_a_created_conversation_tells_when_and_where_its_contact_came() -> None:
    contact, conversation = mapped(changed(CONVERSATION, event="conversation_created"))
    assert contact == {
        "id": "chatwoot-conversation-000000000010-contact",
        "type": "contact.created",
        "account_id": "acme",
        "contact_id": "14",
        "occurred_at": "2021-07-23T18:01:48.739000Z",
        "origin": None,
        "channel": "webchat",
        "by": "import",
    }
    assert conversation == {
        "id": "chatwoot-conversation-10-started",
        "type": "conversation.started",
        "account_id": "acme",
        "contact_id": "14",
        "occurred_at": "2021-07-23T18:02:48Z",
        "conversation_id": "10",
        "channel": "webchat",
        "by": "contact",
    }


def test_a_contact_that_comes_back_is_not_created_again() -> None:
    next_day = 1627063308 + 86_400  # a day after the contact came, 0.3 s less
    payload = changed(CONVERSATION, event="conversation_created", created_at=next_day)
    assert [event["type"] for event in mapped(payload)] == ["contact.created", "conversation.started"]
    assert [event["type"] for event in mapped({**payload, "created_at": next_day + 1})] == ["conversation.started"]


def shown(message_type: int, sender_type: str | None, created_at: int = 1627063369) -> dict[str, Any]:
    return {
        "message_type": message_type,
        "sender_type": sender_type,
        "sender_id": None if sender_type is None else 5,
        "created_at": created_at,
        "content_attributes": {},
    }


@pytest.mark.parametrize(
    ("messages", "by"),
    [
        ([shown(0, "Contact")], "contact"),
        ([shown(1, "User")], "advisor"),
        ([shown(1, "AgentBot")], "bot"),
        ([shown(3, None)], None),  # a greeting answers a message that is not shown
        ([{**shown(3, None), "additional_attributes": {"campaign_id": 4}}], "system"),
        ([], None),
        ([shown(1, "User", 1627063368 + 61)], None),
    ],
)
def test_a_conversation_is_opened_by_who_wrote_what_it_shows(messages: list[Any], by: str | None) -> None:
    payload = changed(CONVERSATION, event="conversation_created", unread_count=0, messages=messages)
    started = [event for event in mapped(payload) if event["type"] == "conversation.started"]
    assert [event["by"] for event in started] == ([] if by is None else [by])


def test_resolved_closes_and_names_the_assignee() -> None:
    assert mapped(status_change("resolved", "open")) == [
        {
            "id": "chatwoot-conversation-10-resolved-1627063369125",
            "type": "conversation.closed",
            "account_id": "acme",
            "contact_id": "14",
            "occurred_at": "2021-07-23T18:02:49.125000Z",
            "conversation_id": "10",
            "reason": "resolved",
            "advisor_id": "1",
        }
    ]


def test_a_bot_that_is_assigned_is_no_advisor() -> None:
    payload = changed(status_change("resolved", "pending"), meta__assignee_type="AgentBot")
    assert "advisor_id" not in mapped(payload)[0]


def test_snoozed_is_a_close_for_a_snooze_reason() -> None:
    (event,) = mapped(status_change("snoozed", "open"))
    assert (event["type"], event["reason"]) == ("conversation.closed", SNOOZE_REASON)


def test_from_pending_to_open_the_bot_hands_off() -> None:
    (event,) = mapped(status_change("open", "pending"))
    assert (event["type"], event["to_advisor_id"]) == ("conversation.handed_off", "1")


def test_a_status_change_of_the_documented_form_says_no_previous_status() -> None:
    (event,) = mapped(status_change("open", None))
    assert event["type"] == "conversation.handed_off"


@pytest.mark.parametrize(("status", "previous"), [("open", "resolved"), ("pending", "open"), ("pending", "resolved")])
def test_other_changes_of_status_give_nothing(status: str, previous: str) -> None:
    assert events(status_change(status, previous)) == []


def update(*changes: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return changed(CONVERSATION, event="conversation_updated", changed_attributes=list(changes), **fields)


def test_another_team_moves_the_contact() -> None:
    change = {"team_id": {"previous_value": None, "current_value": 4}}
    (event,) = mapped(update(change, meta__team={"id": 4, "name": "sales"}))
    assert (event["type"], event["group_id"]) == ("contact.moved", "4")
    (event,) = mapped(update({"team_id": {"previous_value": 4, "current_value": None}}, meta__team=None))
    assert (event["type"], event["group_id"]) == ("contact.moved", None)


def test_another_assignee_alone_gives_nothing() -> None:
    assert events(update({"assignee_id": {"previous_value": None, "current_value": 1}})) == []


def test_a_bot_that_is_taken_off_hands_off() -> None:
    (event,) = mapped(update({"assignee_agent_bot_id": {"previous_value": 3, "current_value": None}}))
    assert event["type"] == "conversation.handed_off"


def test_a_status_told_twice_is_one_event() -> None:
    change = {"status": {"previous_value": "pending", "current_value": "open"}}
    assert events(update(change)) == events(status_change("open", "pending"))


# --- all together -----------------------------------------------------------------------------------------------------


def message(number: int, minute: int, **changes: Any) -> dict[str, Any]:
    instant = f"2026-11-20T10:{minute:02}:00.000Z"
    return changed(MESSAGE, id=number, created_at=instant, **changes)


def at_minute(minute: int) -> float:
    return datetime(2026, 11, 20, 10, minute, tzinfo=UTC).timestamp()


def test_a_conversation_told_by_webhooks_gives_the_report_of_what_happened(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    came = {"contact_inbox": {**CONVERSATION["contact_inbox"], "created_at": "2026-11-20T10:00:00.000Z"}}
    base = {**CONVERSATION, **came, "created_at": int(at_minute(0)), "messages": [], "unread_count": 1}
    handed = {"event": "conversation_status_changed", "status": "open", "updated_at": at_minute(2)}
    pending = [{"status": {"previous_value": "pending", "current_value": "open"}}]
    resolved = {"event": "conversation_status_changed", "status": "resolved", "updated_at": at_minute(9)}
    webhooks = [
        {**base, "event": "conversation_created"},
        message(1, 0),
        message(2, 1, message_type="outgoing", sender=BOT),
        {**base, **handed, "changed_attributes": pending},
        message(3, 7, message_type="outgoing", sender=AGENT),
        {
            **base,
            **resolved,
            "changed_attributes": [{"status": {"previous_value": "open", "current_value": "resolved"}}],
        },
    ]
    told = [event for webhook in [*webhooks, *webhooks] for event in events(webhook)]
    history, accounts = tmp_path / "events.jsonl", tmp_path / "accounts.jsonl"
    history.write_bytes(b"".join(encode_event(event) + b"\n" for event in told))
    accounts.write_text('{"account_id": "acme", "effective_channels": ["webchat"]}\n')
    days = ["--from", "2026-11-20", "--to", "2026-11-20"]
    assert main(["replay", str(history), "--accounts", str(accounts), *days]) == 0
    metrics = json.loads(capsys.readouterr().out)
    # The contact wrote at 10:00, the bot answered at 10:01 and handed off at 10:02, John answered at 10:07.
    assert (metrics["first_response"]["count"], metrics["first_response"]["elapsed"]["median"]) == (
        1,
        pytest.approx(300, rel=0.01),
    )
    assert metrics["response"]["count"] == 1
    assert (metrics["new_contacts"]["total"], metrics["new_conversations"]["by_opener"]) == (1, {"contact": 1})
    assert metrics["new_conversations"]["by_channel"] == {"webchat": 1}
    assert (metrics["closed_conversations"]["closed"], metrics["closed_conversations"]["transferred"]) == (1, 0)
    assert metrics["interactions"]["advisor_contacts"] == 1


# --- in general -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "payload",
    [MESSAGE, CONTACT, changed(CONVERSATION, event="conversation_created"), status_change("resolved", "open")],
)
def test_a_webhook_sent_again_gives_the_same_ids(payload: dict[str, Any]) -> None:
    later = map_webhook("acme", copy.deepcopy(payload), datetime(2026, 11, 22, 19, 0, tzinfo=UTC))
    assert [event.id for event in later] == [event.id for event in events(payload)]


def test_without_any_instant_a_change_is_told_apart_by_its_content() -> None:
    payload = changed(status_change("resolved", "open"))
    del payload["updated_at"], payload["timestamp"]
    (event,), (other,) = events(payload), events(changed(payload, id=11))
    assert event.occurred_at == NOW
    assert event.id == events(copy.deepcopy(payload))[0].id
    assert event.id.removeprefix("chatwoot-conversation-10") != other.id.removeprefix("chatwoot-conversation-11")


@pytest.mark.parametrize(
    "payload",
    [
        [],
        "message_created",
        {},
        {"event": 3},
        {"event": "message_created"},
        changed(MESSAGE, message_type="shout"),
        changed(MESSAGE, id=None),
        {"event": "contact_created"},
        {"event": "conversation_created", "id": 10},
        changed(MESSAGE, id="x" * 300),
    ],
)
def test_what_is_no_webhook_of_chatwoot_is_refused(payload: object) -> None:
    with pytest.raises(InvalidEvent):
        events(payload)


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
WEBHOOKS = [
    MESSAGE,
    CONTACT,
    changed(CONVERSATION, event="conversation_created"),
    status_change("resolved", "open"),
    update({"team_id": {"previous_value": None, "current_value": 4}}),
]


def places(part: object, where: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    if not isinstance(part, dict):
        return [where]
    return [where, *(found for name, value in part.items() for found in places(value, (*where, name)))]


@given(st.data())
def test_whatever_stands_in_a_webhook_it_gives_events_or_is_refused(data: st.DataObject) -> None:
    payload = copy.deepcopy(data.draw(st.sampled_from(WEBHOOKS)))
    for _ in range(data.draw(st.integers(1, 3))):
        where = data.draw(st.sampled_from([place for place in places(payload) if place]))
        parent = payload
        for name in where[:-1]:
            parent = parent[name]
        parent[where[-1]] = data.draw(ANYTHING)
    try:
        found = events(payload)
    except InvalidEvent:
        return
    assert all(event.account_id == "acme" for event in found)


# --- calls ------------------------------------------------------------------------------------------------------------


def call(status: str, direction: str = "inbound", event: str = "message_updated", **changes: Any) -> dict[str, Any]:
    """A call as older versions write it: into the attributes of its message."""
    kind = "incoming" if direction == "inbound" else "outgoing"
    attributes = {
        "data": {
            "call_sid": "CA1",
            "status": status,
            "call_direction": direction,
            "meta": {"created_at": 1627063360, "ringing_at": 1627063361},
        }
    }
    return changed(
        MESSAGE,
        **{
            "event": event,
            "content_type": "voice_call",
            "message_type": kind,
            "content_attributes": attributes,
            "sender": AGENT if kind == "outgoing" else MESSAGE["sender"],
            **changes,
        },
    )


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        ("completed", "accepted"),
        ("in-progress", "accepted"),
        ("in_progress", "accepted"),
        ("no-answer", "missed"),
        ("no_answer", "missed"),
        ("missed", "missed"),
        ("busy", "missed"),
        ("failed", "missed"),
        ("canceled", "missed"),
        ("rejected", "rejected"),
    ],
)
def test_a_call_is_logged_with_its_outcome_dated_when_it_began(status: str, outcome: str) -> None:
    (event,) = mapped(call(status))
    assert (event["type"], event["id"], event["direction"], event["outcome"], event["occurred_at"]) == (
        "call.logged",
        "chatwoot-call-CA1",
        "inbound",
        outcome,
        "2021-07-23T18:02:40Z",
    )


@pytest.mark.parametrize("status", ["ringing", "queued", "initiated", ""])
def test_a_call_without_outcome_is_not_logged_yet(status: str) -> None:
    payload = call(status, event="message_created")
    assert events(payload) == []
    assert "message_updated" in why_nothing(payload)


@pytest.mark.parametrize(
    ("payload", "advisor"),
    [
        (call("completed"), "1"),  # the assignee
        (call("completed", conversation__meta={"assignee": None}), "unknown-advisor"),
        (call("completed", content_attributes__data__accepted_by={"id": 9, "name": "Eva"}), "9"),
        (call("no-answer", conversation__meta={"assignee": None}), None),
        (call("completed", "outbound", sender={"id": 5, "type": "user"}), "5"),
        (call("no-answer", "outbound", sender={"id": 5, "type": "user"}), "5"),
    ],
)
def test_who_took_a_call_or_made_it(payload: dict[str, Any], advisor: str | None) -> None:
    (event,) = mapped(payload)
    assert event.get("advisor_id") == advisor


def recorded_call(**call: Any) -> dict[str, Any]:
    """A call as newer versions keep it: beside its message, where the conversation shows it."""
    whole = {"id": 3, "provider_call_id": "CA2", "direction": "incoming", "started_at": None, **call}
    payload = changed(
        MESSAGE, event="message_updated", content_type="voice_call", conversation__meta={"assignee": None}
    )
    payload["conversation"]["messages"] = [{"id": 118, "message_type": 0, "created_at": 1627063368, "call": whole}]
    return payload


@pytest.mark.parametrize(
    ("record", "outcome", "advisor"),
    [
        ({"status": "completed", "started_at": 1627063370, "accepted_by_agent_id": 4}, "accepted", "4"),
        ({"status": "in-progress", "started_at": 1627063370, "accepted_by_agent_id": 4}, "accepted", "4"),
        ({"status": "completed"}, "missed", None),  # a conference that ended while it rang
        ({"status": "no-answer"}, "missed", None),
        ({"status": "rejected", "accepted_by_agent_id": 4}, "rejected", "4"),
    ],
)
def test_a_call_of_newer_versions(record: dict[str, Any], outcome: str, advisor: str | None) -> None:
    (event,) = mapped(recorded_call(**record))
    assert (event["id"], event["outcome"], event.get("advisor_id")) == ("chatwoot-call-CA2", outcome, advisor)


def test_of_a_call_that_is_told_twice_the_end_comes_before() -> None:
    (during,), (after,) = events(call("in-progress")), events(call("completed"))
    assert during.id == after.id
    assert during.occurred_at == after.occurred_at
    assert (after.sequence or 0) < (during.sequence or 0)


def test_a_voice_inbox_is_the_channel_of_calls() -> None:
    payload = changed(CONVERSATION, event="conversation_created", channel="Channel::Voice")
    assert {event["channel"] for event in mapped(payload)} == {"call"}


# --- what is no plain message -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("flag", [True, "true", 1])
def test_an_answer_from_the_phone_is_an_unknown_advisors(flag: object) -> None:
    payload = changed(MESSAGE, message_type="outgoing", sender=None, content_attributes={"external_echo": flag})
    assert mapped(payload)[0]["author"] == {"kind": "advisor", "id": "unknown-advisor"}


@pytest.mark.parametrize(
    "changes",
    [
        {"content_attributes": {"external_echo": True, "automation_rule_id": 4}},
        {"content_attributes": {"external_echo": True}, "additional_attributes": {"campaign_id": 4}},
        {"content_type": "input_csat"},
        {"content_attributes": {"external_echo": False}},
    ],
)
def test_what_only_looks_like_an_answer_is_the_systems(changes: dict[str, Any]) -> None:
    (event,) = mapped(changed(MESSAGE, message_type="outgoing", sender=None, **changes))
    assert event["author"]["kind"] == "system"


@pytest.mark.parametrize("kind", ["incoming", "outgoing"])
def test_a_reaction_is_no_message(kind: str) -> None:
    payload = changed(MESSAGE, message_type=kind, content_attributes={"is_reaction": True, "in_reply_to": 117})
    assert events(payload) == []
    assert "reaction" in why_nothing(payload)


@pytest.mark.parametrize(
    "email",
    [
        {"auto_reply": True},
        {"headers": {"Auto-Submitted": "auto-replied; owner=x"}},
        {"headers": {"auto_submitted": "auto-generated"}},
    ],
)
def test_an_automatic_reply_is_the_systems(email: dict[str, Any]) -> None:
    (event,) = mapped(changed(MESSAGE, content_type="incoming_email", content_attributes={"email": email}))
    assert (event["type"], event["author"]["kind"]) == ("message.sent", "system")


def test_an_e_mail_that_a_person_wrote_is_a_message() -> None:
    email = {"auto_reply": None, "headers": {"Auto-Submitted": "no"}}
    (event,) = mapped(changed(MESSAGE, content_type="incoming_email", content_attributes={"email": email}))
    assert event["type"] == "message.received"


def test_a_message_that_failed_takes_the_place_of_the_answer() -> None:
    sent = changed(MESSAGE, message_type="outgoing", sender=AGENT, status="sent")
    (before,) = events(sent)
    (after,) = events(changed(sent, event="message_updated", status="failed"))
    assert (after.id, after.occurred_at) == (before.id, before.occurred_at)
    assert (after.sequence or 0) < (before.sequence or 0)
    assert mapped(changed(sent, event="message_updated", status="failed"))[0]["author"]["kind"] == "system"
    for status in ("sent", "delivered", "read"):
        assert events(changed(sent, event="message_updated", status=status)) == []
    assert events(changed(MESSAGE, event="message_updated", status="failed")) == []


@pytest.mark.parametrize(
    ("written", "instant"),
    [
        ("2021-07-20T10:00:00Z", "2021-07-20T10:00:00Z"),
        ("2021-07-20T10:00:00", "2021-07-20T10:00:00Z"),
        (1626775200, "2021-07-20T10:00:00Z"),
        ("1626775200", "2021-07-20T10:00:00Z"),
        (1626775200000, "2021-07-20T10:00:00Z"),
        ("2999-01-01T00:00:00Z", "2021-07-23T18:02:48Z"),
        ("soon", "2021-07-23T18:02:48Z"),
        (0, "2021-07-23T18:02:48Z"),
        (None, "2021-07-23T18:02:48Z"),
    ],
)
def test_a_message_of_replayed_history_keeps_its_time(written: object, instant: str) -> None:
    payload = changed(MESSAGE, content_attributes={"external_created_at": written})
    assert mapped(payload)[0]["occurred_at"] == instant


def test_fractions_are_cut() -> None:
    payload = changed(status_change("resolved", "open"), updated_at="2026-11-22T23:59:59.9999999Z")
    assert mapped(payload)[0]["occurred_at"] == "2026-11-22T23:59:59.999999Z"
    assert mapped(changed(payload, updated_at=1627063369.9999995))[0]["occurred_at"] == "2021-07-23T18:02:49.999999Z"


# --- snoozes, automations, other names --------------------------------------------------------------------------------


@pytest.mark.parametrize("status", ["open", "pending"])
def test_a_snooze_that_ends_is_resumed(status: str) -> None:
    assert [event["type"] for event in mapped(status_change(status, "snoozed"))] == ["conversation.resumed"]


def test_changes_are_read_in_every_form() -> None:
    payload = status_change("open", "snoozed")
    for changes in (
        {"status": {"previous_value": "snoozed", "current_value": "open"}},
        {"status": ["snoozed", "open"]},
        [{"status": ["snoozed", "open"]}],
    ):
        assert events({**payload, "changed_attributes": changes}) == events(payload)


def test_older_names_of_a_change_of_status() -> None:
    resolved = {**status_change("resolved", None), "event": "conversation_resolved", "status": "open"}
    assert mapped(resolved) == mapped(status_change("resolved", None))
    opened = {**status_change("open", None), "event": "conversation_opened"}
    assert mapped(opened) == mapped(status_change("open", None))


def test_a_change_that_does_not_say_when_comes_after_the_activity_it_shows() -> None:
    payload = status_change("resolved", None)
    del payload["updated_at"]
    assert mapped(payload)[0]["occurred_at"] == "2021-07-23T18:02:50Z"  # the activity was at :49


def automation(name: str, **fields: Any) -> dict[str, Any]:
    return changed(CONVERSATION, event=f"automation_event.{name}", **fields)


def test_an_automation_about_a_message_shows_it_in_its_conversation() -> None:
    shown = {"id": 119, "message_type": 0, "created_at": 1627063369, "sender_type": "Contact", "sender_id": 14}
    (event,) = mapped(automation("message_created", messages=[shown]))
    assert (event["type"], event["id"], event["contact_id"], event["occurred_at"]) == (
        "message.received",
        "chatwoot-message-119",
        "14",
        "2021-07-23T18:02:49Z",
    )
    with pytest.raises(InvalidEvent, match="subscribe to message_created"):
        events(automation("message_created", messages=[]))


def test_automations_about_conversations_are_read_like_the_event_in_their_name() -> None:
    assert mapped(automation("conversation_created")) == mapped({**CONVERSATION, "event": "conversation_created"})
    assert [event["type"] for event in mapped(automation("conversation_resolved"))] == ["conversation.closed"]
    assert events(automation("conversation_updated")) == []
    assert "changed_attributes" in why_nothing(automation("conversation_updated"))
    with pytest.raises(UnknownWebhook):
        events(automation("conversation_exploded"))


@pytest.mark.parametrize("name", sorted(MEANINGLESS))
def test_webhooks_that_mean_nothing_say_why(name: str) -> None:
    assert events({"event": name}) == []
    assert name in why_nothing({"event": name})


def test_the_documentation_has_every_webhook() -> None:
    page = (Path(__file__).parents[3] / "docs" / "use" / "bring-your-own-data.md").read_text(encoding="utf-8")
    for name in MEANINGLESS:
        assert f"`{name}`" in page


def test_messages_of_one_second_keep_the_order_of_their_numbers() -> None:
    (asked,), (answered,) = (
        events(changed(MESSAGE, id=120)),
        events(changed(MESSAGE, id=119, message_type="outgoing", sender=AGENT)),
    )
    assert asked.occurred_at == answered.occurred_at
    assert (answered.sequence or 0) < (asked.sequence or 0)
