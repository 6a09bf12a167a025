"""One contact of the simulated service, as a generator of its events."""

from collections.abc import Callable, Generator, Iterator
from random import Random

from schemas import events as ev
from schemas.events import Event
from streams.simulation.accounts import DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS, Company, OpeningHours, to_datetime

Timed = tuple[int, Event]
"""An event and its instant in milliseconds."""


class Story:
    """One contact's life. `at_ms` is the story's own clock; the methods yield events and move it on."""

    def __init__(
        self,
        company: Company,
        hours: dict[str, OpeningHours],
        contact_id: str,
        at_ms: int,
        live_from_ms: int | None,
        rng: Random,
    ) -> None:
        self._company = company
        self._hours = hours
        self._contact_id = contact_id
        self._at_ms = at_ms
        self._live_from_ms = live_from_ms
        self._rng = rng
        self._channel = company.channels.pick(rng) or "whatsapp"
        self._group_id = company.entry_groups.pick(rng)
        self._advisor_id = ""
        self._choose_advisor()
        self._conversation_id: str | None = None
        self._events = 0
        self._conversations = 0

    def events(self) -> Iterator[Timed]:
        """The whole story."""
        yield from self._entry()
        while True:
            if self._chance(0.10):
                gone = yield from self._incident()
                if gone:
                    return
            if not self._chance(0.38):
                return
            self._pass(self._rng.expovariate(1 / (4 * DAY_MS)) + HOUR_MS)
            self._pass_night()
            yield from self._visit()

    # --- how it begins ------------------------------------------------------------------------------------------------

    def _entry(self) -> Iterator[Timed]:
        by = "contact" if self._live else self._rng.choices(("contact", "advisor", "import"), (84, 8, 8))[0]
        yield self._event(
            ev.ContactCreated,
            origin=self._company.origins.pick(self._rng),
            channel=self._channel,
            group_id=self._group_id,
            by=None if by == "contact" else by,
        )
        if by == "contact":
            yield from self._visit()
        elif by == "advisor":
            yield from self._advisor_writes_first()
        elif self._chance(0.6):
            yield from self._campaign()

    def _visit(self) -> Iterator[Timed]:
        """The contact writes, in the open conversation or a new one, and somebody looks after it."""
        opened = self._conversation_id is None
        if opened:
            yield self._open("contact")
        if opened and self._channel in self._company.bot_channels:
            yield self._received()
            handed_off = yield from self._bot()
            if not handed_off:
                return
        else:
            yield self._received()
            if self._chance(0.5):
                self._pass(self._between(1, 4))
                yield self._sent("system")
        yield from self._looked_after()

    def _advisor_writes_first(self) -> Iterator[Timed]:
        self._pass(self._between(20, 200))
        yield self._open("advisor")
        yield self._sent("advisor")
        if self._chance(0.6):
            self._contact_takes_time()
            yield self._received()
            yield from self._looked_after()

    def _campaign(self) -> Iterator[Timed]:
        self._pass(self._rng.uniform(1, 30) * HOUR_MS)
        yield self._open("system")
        yield self._sent("system")
        if self._chance(0.4):
            self._pass(self._rng.expovariate(1 / (3 * HOUR_MS)))
            yield self._received()
            yield from self._looked_after()

    # --- bot and advisors ---------------------------------------------------------------------------------------------

    def _bot(self) -> Generator[Timed, None, bool]:
        """A few questions, then a hand-off. Returns whether a human shall go on."""
        for _ in range(self._rng.choice((1, 2, 2, 3))):
            self._pass(self._between(1, 4))
            yield self._sent("bot")
            if self._chance(0.07):  # the contact leaves it there
                self._pass(2 * HOUR_MS)
                yield self._close("Sin respuesta", advisor_id=None)
                return False
            self._pass(self._between(5, 45))
            yield self._received()
        self._pass(self._between(1, 3))
        if self._chance(0.15):
            yield self._sent("bot")
            self._pass(self._between(1, 60))
            yield self._close("Consulta resuelta", advisor_id=None)
            return False
        to_advisor_id = self._advisor_id if self._chance(0.4) else None
        yield self._event(ev.ConversationHandedOff, conversation_id=self._open_id, to_advisor_id=to_advisor_id)
        return True

    def _looked_after(self) -> Iterator[Timed]:
        """Answers and questions until the conversation is closed, snoozed, transferred or left alone."""
        if self._chance(0.05):  # nobody ever answers
            if self._chance(0.4):
                self._pass(self._rng.uniform(1, 4) * DAY_MS)
                yield self._close("Sin respuesta", advisor_id=self._advisor_id)
            return
        if self._chance(0.12):
            self._advisor_takes_time(share=0.5)
            yield self._event(ev.NoteAdded, conversation_id=self._open_id, advisor_id=self._advisor_id)
        for _ in range(self._rng.choice((1, 1, 2, 2, 3, 4, 6))):
            self._advisor_takes_time()
            yield from self._answer()
            if self._chance(0.06):
                self._pass(self._between(5, 90))
                yield self._transfer()
                if self._conversation_id is None:
                    return
                continue
            if not self._chance(0.75):
                break
            self._contact_takes_time()
            yield from self._question()
        else:
            self._advisor_takes_time()
            yield from self._answer()
        if self._chance(0.1):
            yield from self._snooze()
        if self._chance(0.88):
            self._pass(self._between(20, 60) if self._live else self._rng.expovariate(1 / HOUR_MS) + MINUTE_MS)
            yield self._close(self._company.close_reasons.pick(self._rng) or "", advisor_id=self._advisor_id)

    def _answer(self) -> Iterator[Timed]:
        if self._chance(0.05):
            outcome = self._rng.choices(("accepted", "rejected", "missed"), (60, 10, 30))[0]
            yield self._call("outbound", outcome, self._advisor_id)
            return
        yield self._sent("advisor")
        if self._chance(0.2):
            self._pass(self._between(4, 40))
            yield self._sent("advisor")

    def _question(self) -> Iterator[Timed]:
        if self._chance(0.04):
            if self._chance(0.5):
                yield self._call("inbound", "missed", None)
            else:
                yield self._call("inbound", "accepted", self._advisor_id)
            return
        yield self._received()
        if self._chance(0.25):
            self._pass(self._between(3, 30))
            yield self._received()

    def _snooze(self) -> Iterator[Timed]:
        """Put aside until something happens; the conversation stays open."""
        self._pass(self._between(5, 60))
        yield self._close(
            self._rng.choice(self._company.settings.snooze_reasons), advisor_id=self._advisor_id, keep=True
        )
        self._pass(self._rng.uniform(4, 50) * HOUR_MS)
        if self._chance(0.5):
            yield self._received()
        else:
            yield self._event(ev.ConversationResumed, conversation_id=self._open_id)
        self._advisor_takes_time()
        yield self._sent("advisor")

    def _transfer(self) -> Timed:
        """To another group: in a new conversation usually, else the contact has to write again."""
        here, left_by = self._open_id, self._advisor_id
        others = [group for group in self._company.settings.groups if group != self._group_id]
        self._group_id = self._rng.choice(others)
        self._choose_advisor()
        goes_on = self._chance(0.75)
        following = self._next_conversation_id() if goes_on else None
        event = self._event(
            ev.ConversationTransferred,
            conversation_id=here,
            advisor_id=left_by,
            to_conversation_id=following,
            to_advisor_id=self._advisor_id,
            to_group_id=self._group_id,
        )
        self._conversation_id = following
        return event

    # --- what happens to the contact itself ---------------------------------------------------------------------------

    def _incident(self) -> Generator[Timed, None, bool]:
        """A move, a deletion, a merge. Returns whether the contact is gone for good."""
        self._pass(self._between(30, 900) if self._live else self._rng.expovariate(1 / (20 * HOUR_MS)) + MINUTE_MS)
        what = self._rng.choices(("moved", "deleted", "merged"), (50, 35, 15))[0]
        if what == "moved":
            self._group_id = self._rng.choice([*self._company.settings.groups, None])
            self._choose_advisor()
            yield self._event(ev.ContactMoved, group_id=self._group_id)
            return False
        if what == "merged":
            prefix, _, number = self._contact_id.rpartition("-")
            if int(number) > 1:
                into = f"{prefix}-{self._rng.randrange(1, int(number)):05d}"
                yield self._event(ev.ContactMerged, into=into)
                yield self._absorbed(into)
                return True
        yield self._event(ev.ContactDeleted)
        if not self._chance(0.25):
            return True
        self._pass(self._rng.uniform(0.1, 30) * HOUR_MS)
        yield self._event(ev.ContactRestored)
        return False

    def _absorbed(self, into: str) -> Timed:
        """What the surviving contact takes over of this one."""
        open_here = (ev.OpenConversation(self._conversation_id, self._channel),) if self._conversation_id else ()
        return self._event(
            ev.ContactAbsorbed,
            contact_id=into,
            from_contact=self._contact_id,
            waiting_since=to_datetime(self._at_ms) if open_here else None,
            channel=self._channel if open_here else None,
            open_conversations=open_here,
        )

    # --- single events ------------------------------------------------------------------------------------------------

    def _open(self, by: str) -> Timed:
        self._conversation_id = self._next_conversation_id()
        return self._event(ev.ConversationStarted, conversation_id=self._conversation_id, channel=self._channel, by=by)

    def _received(self) -> Timed:
        return self._event(ev.MessageReceived, conversation_id=self._open_id, channel=self._channel)

    def _sent(self, kind: str) -> Timed:
        author = ev.Author(kind, self._advisor_id) if kind == "advisor" else ev.Author(kind)  # type: ignore[arg-type]
        return self._event(ev.MessageSent, conversation_id=self._open_id, channel=self._channel, author=author)

    def _call(self, direction: str, outcome: str, advisor_id: str | None) -> Timed:
        return self._event(
            ev.CallLogged, conversation_id=self._open_id, direction=direction, outcome=outcome, advisor_id=advisor_id
        )

    def _close(self, reason: str, *, advisor_id: str | None, keep: bool = False) -> Timed:
        closed = self._event(ev.ConversationClosed, conversation_id=self._open_id, reason=reason, advisor_id=advisor_id)
        if not keep:
            self._conversation_id = None
        return closed

    def _event(self, make: Callable[..., Event], **fields: object) -> Timed:
        self._events += 1
        usual: dict[str, object] = {
            "id": f"{self._contact_id}-e{self._events}",
            "account_id": self._company.account_id,
            "contact_id": self._contact_id,
            "occurred_at": to_datetime(self._at_ms),
        }
        event = make(**usual | fields)
        return self._at_ms, event

    @property
    def _open_id(self) -> str:
        assert self._conversation_id is not None, "the story writes into a conversation that is not open"
        return self._conversation_id

    def _next_conversation_id(self) -> str:
        self._conversations += 1
        return f"{self._contact_id}-c{self._conversations}"

    def _choose_advisor(self) -> None:
        self._advisor_id = self._rng.choice(self._company.advisors_of(self._group_id))

    # --- time ---------------------------------------------------------------------------------------------------------

    @property
    def _live(self) -> bool:
        return self._live_from_ms is not None and self._at_ms >= self._live_from_ms

    def _chance(self, probability: float) -> bool:
        return self._rng.random() < probability

    def _between(self, low_seconds: float, high_seconds: float) -> float:
        return self._rng.uniform(low_seconds, high_seconds) * SECOND_MS

    def _pass(self, duration_ms: float) -> None:
        self._at_ms += max(1, int(duration_ms))

    def _pass_night(self) -> None:
        """Contacts sleep too: what would fall into their night happens in the morning."""
        zone = next(iter(self._hours.values())).zone
        hour = to_datetime(self._at_ms).astimezone(zone).hour
        if hour < 7:
            self._pass((7 - hour) * HOUR_MS + self._between(0, 7200))

    def _contact_takes_time(self) -> None:
        if self._live:
            self._pass(min(self._rng.lognormvariate(2.5, 0.6), 60) * SECOND_MS)
            return
        self._pass(min(self._rng.lognormvariate(4.8, 1.3), 86_400) * SECOND_MS)
        self._pass_night()

    def _advisor_takes_time(self, share: float = 1.0) -> None:
        """Until the advisor acts: within working hours, mostly, at the advisor's own pace."""
        if self._live:
            self._pass(min(self._rng.lognormvariate(2.7, 0.6), 90) * SECOND_MS * share)
            return
        personality, hours = self._company.personalities[self._advisor_id], self._hours[self._advisor_id]
        delay_ms = personality.median_ms * self._rng.lognormvariate(0.0, personality.spread) * share
        if self._chance(personality.after_hours):
            self._pass(delay_ms)
            return
        start_ms = hours.next_open_ms(self._at_ms)
        at_ms = start_ms + delay_ms
        back_ms = hours.next_open_ms(int(at_ms))  # lunch, the evening, the week-end came between
        if back_ms > at_ms:
            at_ms = back_ms + self._rng.uniform(0, personality.median_ms)
        self._pass(at_ms - self._at_ms)
