"""Publishing one account: the blocks of the days that changed, document and manifest."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import date
from typing import Any, Final, NamedTuple

import msgspec
import orjson
from msgspec import Struct

from aggregates.day_block import Contribution, encode_block
from aggregates.document import (
    SHAPE,
    TOTALS_DIFFER,
    BoxName,
    Notice,
    Publication,
    boxes_that_hold,
    period_days,
    snapshot_document,
)
from aggregates.report import instant_text
from aggregates.rules import Rules
from aggregates.shard_days import adds_up, contributions, waiting_of
from schemas.accounts import encode_settings
from streams.redis.shard_reader import (
    ROLL_BACK_MARGIN,
    DamagedDay,
    Scan,
    ShardCut,
    ShardReader,
    UnsteadyShard,
    refuse_half_written,
)
from streams.snapshots.blocks import Blocks, PartGone
from streams.snapshots.completeness import completeness
from streams.snapshots.fenced import (
    GARBAGE_MS,
    GARBAGE_REVISIONS,
    Draft,
    FencedAccount,
    Holder,
    Known,
    MissingParts,
    missing_parts,
)
from streams.snapshots.manifest import Manifest, PublicKeys, decode_manifest, load_manifests
from streams.snapshots.parts import SETTINGS, Attempt, Part, day_name, days_of

logger = logging.getLogger(__name__)

DAYS_FORGOTTEN = 31
"""How many days past the retention one revision leaves out at most, so that a wrong clock cannot empty a report."""

MOST_STEP_MS: Final = 5 * 60 * 1000
"""How much older replaced parts become between two revisions, whatever the clocks say in between."""

DAYS_TOGETHER: Final = 64
"""Days of accounts that one transaction reads in a shard: each takes far less than a millisecond."""

_YIELD_ROWS: Final = 2_000
_SWEPT: Final = 1_000
_MOST_NAMED: Final = 5


class LogCut(Struct, frozen=True):
    """Where the log ended at an instant: shard → (end of contacts, end of conversations). `None`: not known."""

    as_of_ms: int
    ends: dict[int, tuple[int, int]] | None


class Published(Struct, frozen=True):
    """What was published of an account."""

    account_id: str
    manifest: Manifest
    changed_days: int
    document_bytes: int
    pending: bool
    """Whether a later revision may have what this one lacks."""
    repaired: int = 0
    """Parts that should have been there and were not, and were made again from the shards."""
    differing_days: int = 0
    """Days that were read and whose facts do not add up to their shards' totals."""


class Read(Struct, frozen=True):
    """What is known of an account before it is published: of many accounts at once, so that each costs little."""

    stored: bytes | None
    manifest: bytes | None
    cuts: Mapping[int, ShardCut] = {}


class Round(Struct, frozen=True):
    """What a round of publications starts from."""

    log: LogCut
    scans: Sequence[Scan]
    """Shard by shard, what changed since a time when every account was published but those that were left out."""
    left_out: AbstractSet[str] = frozenset()
    next_due_ms: int | None = None
    revisions: Mapping[str, int] = {}
    """The newest revision of accounts as that time knew it; another one may mean that Redis was rolled back."""


class Publisher:
    """Publishes accounts under a namespace, in one round."""

    def __init__(
        self,
        redis: Any,
        namespace: str,
        shards: Sequence[ShardReader],
        history: int,
        retention_days: int,
        holder: Holder,
        blocks: Blocks,
    ) -> None:
        self._redis = redis
        self._namespace = namespace
        self._shards = shards
        self._history = history
        self._retention_days = retention_days
        self._holder = holder
        self._blocks = blocks
        self._everything: dict[int, Scan] = {}

    async def read(self, account_ids: Sequence[str], round_: Round) -> dict[str, Read]:
        """What was published of accounts, and their changed days in each shard, in few commands for all of them.

        What is missing here, `publish` reads by itself.
        """
        named = [PublicKeys(self._namespace, account_id) for account_id in account_ids]
        found = dict(zip(account_ids, await load_manifests(self._redis, named), strict=True))
        wanted: dict[int, dict[str, set[int]]] = {shard.shard: {} for shard in self._shards}
        for account_id in account_ids:
            try:
                before = _decoded(*found[account_id])
            except (msgspec.DecodeError, ValueError):
                continue
            plan = await self._plan(account_id, before, round_, lost=(), today=None)
            for number, days in plan.wanted.items():
                if days and len(days) <= DAYS_TOGETHER:
                    wanted[number][account_id] = days
        cuts: dict[str, dict[int, ShardCut]] = {account_id: {} for account_id in account_ids}
        for shard, scan in zip(self._shards, round_.scans, strict=True):
            for some in _together(wanted[shard.shard]):
                with contextlib.suppress(UnsteadyShard):  # told of each account when it is published
                    for account_id, cut in (await shard.cuts(some, scan.state.seq, scan.state.token)).items():
                        cuts[account_id][shard.shard] = cut
        return {account_id: Read(*found[account_id], cuts[account_id]) for account_id in account_ids}

    async def publish(
        self,
        rules: Rules,
        round_: Round,
        *,
        notices: tuple[Notice, ...] = (),
        read: Read | None = None,
        suspects: Sequence[Part] = (),
    ) -> Published:
        """Publish the account's next revision.

        `suspects` are published parts that are missing, or cannot be read. Raises `FenceLost` when another snapshotter
        has taken over, `Superseded` when one published meanwhile, `MissingParts` when a part is lost and the facts of
        its day are too, `UnsteadyShard` when a shard cannot be read now, `DamagedDay` when its bytes are damaged.
        """
        settings = rules.settings
        keys = PublicKeys(self._namespace, settings.account_id)
        account = FencedAccount(self._redis, keys, self._holder)
        if read is None:
            (pair,) = await load_manifests(self._redis, [keys])
            read = Read(*pair)
        known = await account.known(read.stored, read.manifest)
        if known.is_damaged:
            logger.warning("account %s: its manifest is lost or damaged; all of it is made again", settings.account_id)
        missing = {part.name for part in suspects}
        if suspects and known.manifest is not None:
            missing |= await self._missing(keys, known.manifest)
        return await self._publish(account, keys, known, rules, round_, notices, read, missing)

    async def _publish(
        self,
        account: FencedAccount,
        keys: PublicKeys,
        known: Known,
        rules: Rules,
        round_: Round,
        notices: tuple[Notice, ...],
        read: Read,
        missing: AbstractSet[str],
    ) -> Published:
        settings, before, log = rules.settings, known.manifest, round_.log
        account_id = settings.account_id
        today = rules.calendar.day_of(log.as_of_ms)
        there = {} if before is None else days_of(before.parts)
        lost = {day: part for day, part in there.items() if part.name in missing}
        cuts, changed = await self._changed_days(account_id, before, round_, read, lost=lost, today=today)
        fresh: dict[int, list[Contribution]] = {}
        holding: dict[int, tuple[int, ...]] = {} if before is None else dict(before.shards)
        differing = set() if before is None else set(before.differing)
        for day in changed:
            differing.discard(day)
            fresh[day], holding[day], is_right = self._facts(account_id, day, cuts)
            if not is_right:
                differing.add(day)
            if len(fresh[day]) > _YIELD_ROWS:
                await asyncio.sleep(0)  # the lock is renewed meanwhile
        oldest = self._oldest(before, there, today)
        absent = await self._absent(account_id, lost, fresh, oldest)
        wanted = period_days(date.fromordinal(today))
        if wanted_and_lost := [part for day, part in absent.items() if day in wanted]:
            raise MissingParts(account_id, wanted_and_lost)

        attempt = Attempt()
        days = {day: part for day, part in there.items() if day >= oldest and (day not in fresh or day in absent)}
        waiting = {} if before is None else dict(before.waiting)
        written: dict[Part, bytes] = {}
        for day, facts in fresh.items():
            if day not in absent:
                waiting[day] = waiting_of(facts)
                if facts and day >= oldest:
                    days[day] = attempt.part(day_name(day))
                    written[days[day]] = encode_block(day, facts)
                    self._blocks.add(keys, days[day], written[days[day]])
        named = {part.name: part.version for part in days.values()}
        version = rules.version.hex()
        if before is None or before.rules != version or SETTINGS in missing or SETTINGS not in before.parts:
            part = attempt.part(SETTINGS)
            written[part] = encode_settings(settings)
            named[SETTINGS] = part.version
        else:
            named[SETTINGS] = before.parts[SETTINGS]
        waiting = {day: who for day, who in waiting.items() if day in days and who.contacts}
        differing &= days.keys()
        states = [cut.state for cut in cuts]
        lacks = completeness(states, log.ends)
        now_ms = int(time.time() * 1000)
        publication = Publication(
            revision=known.revision + 1,
            published_at_ms=now_ms,
            as_of_ms=log.as_of_ms,
            complete=not (lacks.reasons or absent or differing),
            lag_records=lacks.lag_records,
            incomplete_reasons=(*lacks.reasons, *_lost(absent), *_differing(differing)),
            changed_days=None if before is None else tuple(changed),
            complete_from_ms=lacks.complete_from_ms,
            as_of_before_ms=None if before is None or before.as_of_ms <= log.as_of_ms else before.as_of_ms,
            next_due_ms=round_.next_due_ms,
            notices=(*notices, *_differing_notices(differing)),
        )
        if publication.as_of_before_ms is not None:
            logger.warning(
                "account %s: this report is as of %s, the one before was as of %s; are the clocks right?",
                account_id,
                instant_text(log.as_of_ms),
                instant_text(publication.as_of_before_ms),
            )
        try:
            blocks = await self._blocks.read(keys, {day: part for day, part in sorted(days.items()) if day in wanted})
        except PartGone as gone:
            raise MissingParts(account_id, (gone.part,)) from gone
        held = await self._held_boxes(keys, before, settings.timezone, {*fresh, *(there.keys() - days.keys())}, today)
        document = msgspec.json.encode(
            snapshot_document(settings, rules.calendar, blocks, waiting.values(), publication, held)
        )
        age_ms, replaced, swept = _aged(before, named, publication.revision, now_ms)
        manifest = Manifest(
            revision=publication.revision,
            published_at_ms=now_ms,
            as_of_ms=log.as_of_ms,
            complete=publication.complete,
            timezone=settings.timezone,
            today=today,
            rules=version,
            commits={state.shard: (state.seq, state.token) for state in states},
            parts=named,
            waiting=waiting,
            shards={day: shards for day, shards in holding.items() if day in days},
            positions={state.shard: (state.contacts or 0, state.conversations or 0) for state in states},
            absent=tuple(sorted(part.name for part in absent.values())),
            differing=tuple(sorted(differing)),
            replaced=replaced,
            age_ms=age_ms,
            complete_from_ms=lacks.complete_from_ms,
            shape=SHAPE,
        )
        draft = Draft(manifest, document, _notification(account_id, manifest), written, swept)
        await account.publish(known.stored, draft, self._history)
        return Published(
            account_id,
            manifest,
            len(fresh),
            len(document),
            bool(lacks.pending),
            repaired=len(missing) - len(absent) + known.is_damaged,
            differing_days=len(differing & fresh.keys()),
        )

    async def _held_boxes(
        self, keys: PublicKeys, before: Manifest | None, timezone: str, changed: AbstractSet[int], today: int
    ) -> dict[BoxName, msgspec.Raw]:
        """The boxes of the newest document that are as they would be made again: most periods do not end today."""
        if before is None or before.shape != SHAPE or before.timezone != timezone:
            return {}
        document = await self._redis.get(keys.report)
        with contextlib.suppress(msgspec.DecodeError, ValueError):
            return boxes_that_hold(document or b"", before.revision, changed, min(today, before.today))
        return {}

    def _facts(
        self, account_id: str, day: int, cuts: Sequence[ShardCut]
    ) -> tuple[list[Contribution], tuple[int, ...], bool]:
        """A day's facts of all shards, which shards have some, and whether they add up to what each has counted."""
        facts: list[Contribution] = []
        shards = []
        is_right = True
        for cut in cuts:
            held = cut.days.get(day)
            if held is None:
                continue
            try:
                found = contributions(day, held.facts)
            except ValueError as error:
                raise DamagedDay(
                    f"shard {cut.state.shard}: the facts of account {account_id!r} of day {day} cannot be read: {error}"
                ) from error
            if not adds_up(found, held.totals):
                is_right = False
                logger.error(
                    "account %s, %s: the facts in shard %d do not add up to its totals; a rebuild makes both again",
                    account_id,
                    date.fromordinal(day),
                    cut.state.shard,
                )
            if found:
                shards.append(cut.state.shard)
            facts += found
        return facts, tuple(shards), is_right

    async def _missing(self, keys: PublicKeys, before: Manifest) -> set[str]:
        """The names of parts that the newest manifest names and that are not there."""
        parts = [Part(name, version) for name, version in before.parts.items()]
        found = {part.name for part in await missing_parts(self._redis, keys, parts)}
        if found:
            names = ", ".join(sorted(found)[:5])
            logger.warning("account %s: %d published parts are missing: %s", keys.account_id, len(found), names)
        return found

    async def _absent(
        self, account_id: str, lost: Mapping[int, Part], fresh: Mapping[int, Sequence[Contribution]], oldest: int
    ) -> dict[int, Part]:
        """The missing days that no shard has facts of any more: they cannot be made again.

        A day that a correction emptied is still known to its shard; it has nothing, and that is right.
        """
        empty = {day: part for day, part in lost.items() if day >= oldest and not fresh[day]}
        if not empty:
            return {}
        known = [(await self._whole(shard)).changes.get(account_id, {}) for shard in self._shards]
        return {day: part for day, part in empty.items() if not any(day in days for days in known)}

    def _oldest(self, before: Manifest | None, there: Mapping[int, Part], today: int) -> int:
        """The oldest day that the revision has: by the retention, but only so many steps at once."""
        oldest = today - self._retention_days
        past = sorted(day for day in there if day < oldest)
        return past[DAYS_FORGOTTEN] if before is not None and len(past) > DAYS_FORGOTTEN else oldest

    async def _changed_days(
        self,
        account_id: str,
        before: Manifest | None,
        round_: Round,
        read: Read,
        *,
        lost: Iterable[int],
        today: int,
    ) -> tuple[list[ShardCut], list[int]]:
        """Every shard's cut, and the days that changed in any of them; `lost` days count as changed."""
        plan = await self._plan(account_id, before, round_, lost=lost, today=today)
        changed, cuts = plan.changed, dict(read.cuts)
        while True:
            for shard, scan in zip(self._shards, plan.scans, strict=True):
                wanted, cut = plan.wanted[shard.shard], cuts.get(shard.shard)
                if cut is not None and wanted <= cut.days.keys():
                    continue
                if wanted:
                    cut = await shard.cut(account_id, wanted, scan.state.seq, scan.state.token)
                else:  # nothing of this account is to be read there
                    refuse_half_written(scan.state)
                    cut = ShardCut(scan.state, {})
                cuts[shard.shard] = cut
            grown = changed.union(*(cut.days for cut in cuts.values()))
            if grown == changed:
                return [cuts[shard.shard] for shard in self._shards], sorted(changed)
            # A day began to change in one shard while another was read: its block needs all shards.
            for wanted in plan.wanted.values():
                wanted |= grown - changed
            changed = grown

    async def _plan(
        self, account_id: str, before: Manifest | None, round_: Round, *, lost: Iterable[int], today: int | None
    ) -> "_Plan":
        """Which days changed since the revision before, and in which shards they are to be read."""
        changed: set[int] = set(lost)
        everywhere = set(changed)
        known = set() if before is None else set(days_of(before.parts))
        holding: dict[int, set[int]] = {} if before is None else {day: set(held) for day, held in before.shards.items()}
        # The clock was ahead, and days may have been left out as past the retention.
        was_ahead = before is not None and today is not None and before.today > today
        is_other = before is not None and before.revision != round_.revisions.get(account_id, before.revision)
        used = []
        for shard, since_before in zip(self._shards, round_.scans, strict=True):
            scan = since_before
            published, token = (0, "") if before is None else before.commits.get(shard.shard, (0, ""))
            if before is not None and published > scan.state.seq:
                # The shard was rolled back to an older copy: any day may have changed.
                published = 0
                changed |= known
            elif token != scan.state.token:
                # Perhaps it was rolled back, and has committed again since, by a clock that may be behind.
                published -= ROLL_BACK_MARGIN
            if scan.since_seq > 0 and (published <= 0 or account_id in round_.left_out or was_ahead or is_other):
                scan = await self._whole(shard)
            for day, seq in scan.changes.get(account_id, {}).items():
                holding.setdefault(day, set()).add(shard.shard)
                if seq > published or (was_ahead and day not in known):
                    changed.add(day)
            used.append(scan)
        wanted: dict[int, set[int]] = {shard.shard: set(everywhere) for shard in self._shards}
        for day in changed - everywhere:
            for number in holding.get(day, ()):
                if number in wanted:
                    wanted[number].add(day)
        return _Plan(changed, used, wanted)

    async def _whole(self, shard: ShardReader) -> Scan:
        """All there is in a shard, looked for once in a round."""
        if shard.shard not in self._everything:
            self._everything[shard.shard] = await shard.scan(0)
        return self._everything[shard.shard]


class _Plan(NamedTuple):
    changed: set[int]
    scans: list[Scan]
    wanted: dict[int, set[int]]
    """Shard → the days to read in it."""


def _decoded(stored: bytes | None, manifest: bytes | None) -> Manifest | None:
    return None if stored is None or manifest is None else decode_manifest(manifest)


def _together(wanted: Mapping[str, set[int]]) -> Iterator[dict[str, set[int]]]:
    """Accounts with their days, as many at a time as one transaction reads."""
    some: dict[str, set[int]] = {}
    count = 0
    for account_id, days in wanted.items():
        if some and count + len(days) > DAYS_TOGETHER:
            yield some
            some, count = {}, 0
        some[account_id] = days
        count += len(days)
    if some:
        yield some


def _aged(
    before: Manifest | None, named: Mapping[str, str], revision: int, now_ms: int
) -> tuple[int, dict[str, tuple[int, int]], list[Part]]:
    """The account's clock, the parts that wait for their end with a new revision, and those whose time has come."""
    if before is None:
        return 0, {}, []
    age_ms = before.age_ms + min(max(now_ms - before.published_at_ms, 0), MOST_STEP_MS)
    replaced: dict[str, tuple[int, int]] = {}
    swept: list[Part] = []
    for member, (since_revision, since_ms) in before.replaced.items():
        if age_ms - since_ms >= GARBAGE_MS and revision - since_revision >= GARBAGE_REVISIONS and len(swept) < _SWEPT:
            swept.append(Part.of_member(member))
        else:
            replaced[member] = (since_revision, since_ms)
    for name, version in before.parts.items():
        if named.get(name) != version and name not in before.absent:
            replaced[Part(name, version).member] = (revision, age_ms)
    return age_ms, replaced, swept


def _lost(absent: Mapping[int, Part]) -> tuple[str, ...]:
    if not absent:
        return ()
    told = f"the published numbers of {len(absent)} days are lost and cannot be made again ({_named(absent)})"
    return (f"{told}: restore Redis from a copy, or rebuild",)


def _differing(days: AbstractSet[int]) -> tuple[str, ...]:
    if not days:
        return ()
    return (f"the facts of {len(days)} days do not add up to the counters beside them ({_named(days)}): rebuild",)


def _differing_notices(days: AbstractSet[int]) -> tuple[Notice, ...]:
    return (Notice(TOTALS_DIFFER, len(days), tuple(_dates(days))),) if days else ()


def _dates(days: Iterable[int]) -> list[str]:
    return [date.fromordinal(day).isoformat() for day in sorted(days)][:_MOST_NAMED]


def _named(days: Iterable[int]) -> str:
    return ", ".join(_dates(days))


def _notification(account_id: str, manifest: Manifest) -> bytes:
    return orjson.dumps(
        {
            "account_id": account_id,
            "revision": manifest.revision,
            "as_of": instant_text(manifest.as_of_ms),
            "complete": manifest.complete,
            "complete_from": instant_text(manifest.complete_from_ms),
        }
    )
