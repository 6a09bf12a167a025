"""The soak's verdict: on series that are as they should be, and on each way in which they may not be."""

from collections.abc import Callable

import msgspec
import pytest

from bench.soak.samples import Kind, Program, Sample
from bench.soak.truth import Truth
from bench.soak.verdict import Finding, Limits, bytes_per_contact, grows, judge, line, passed, report, table

LIMITS = Limits(retained_days=10, rate=100.0, accounts=2, partitions=4, sweep_days=1.0)
TRUTH = Truth(facts_compared=1_000, figures_compared=500, differences=[])
FIRST_DAY = 739_000


def sample(minute: int) -> Sample:
    """A look at a run that is all right: a day a minute, 60 new contacts in each, ten days kept."""
    kept = min(minute + 1, 11)
    contacts = Kind(60 * minute, 60 * minute * 900.0)
    chunks = Kind(minute, minute * 1_200.0)
    days = Kind(8 * kept, 8 * kept * 5_000.0)
    blocks = Kind(2 * kept, 2 * kept * 20_000.0)
    return Sample(
        seconds=60.0 * minute,
        day=FIRST_DAY + minute,
        sent=6_000 * minute,
        applied=max(0, 6_000 * minute - 50),
        commits=100 * minute,
        programs={
            # A worker is full after ten minutes, and then goes up and down by a megabyte.
            "worker 1": Program(60.0 + min(minute, 10) + minute % 2, 2, 15),
            "snapshotter": Program(50.0 + minute % 3, 1, 9),
        },
        redis_bytes=int(2e6 + contacts.bytes + chunks.bytes + days.bytes + blocks.bytes),
        contacts=contacts,
        chunks=chunks,
        days=days,
        open_days=2,
        oldest_day=FIRST_DAY + max(0, minute - 10),
        blocks=blocks,
        oldest_block=FIRST_DAY + max(0, minute - 10),
    )


def run(change: Callable[[Sample], Sample] = lambda each: each, minutes: int = 60) -> list[Sample]:
    return [change(sample(minute)) for minute in range(1, minutes + 1)]


def wrong(findings: list[Finding]) -> list[str]:
    return [finding.statement for finding in findings if finding.holds is False]


def test_a_run_in_which_only_contacts_grow_passes_and_everything_is_judged() -> None:
    findings = judge(run(), LIMITS, TRUTH, [])
    assert passed(findings)
    assert all(finding.holds for finding in findings)


def test_a_worker_that_keeps_thirty_bytes_of_each_event_is_told() -> None:
    def leak(each: Sample) -> Sample:
        # 6,000 events a minute, 30 bytes each: 10.3 MiB in an hour, 5.1 of them in its second half, of 76 MiB.
        worker = each.programs["worker 1"]
        leaking = msgspec.structs.replace(worker, rss_mib=worker.rss_mib + each.sent * 30 / (1 << 20))
        return msgspec.structs.replace(each, programs={**each.programs, "worker 1": leaking})

    assert wrong(judge(run(leak), LIMITS, TRUTH, [])) == ["memory of worker 1 grows by at most 5% over the second half"]


def test_one_high_sample_is_no_leak() -> None:
    def spike(each: Sample) -> Sample:
        if each.seconds != 3_000.0:
            return each
        return msgspec.structs.replace(each, programs={**each.programs, "worker 1": Program(74.0, 2, 15)})

    assert passed(judge(run(spike), LIMITS, TRUTH, []))


def test_files_that_are_not_closed_are_told() -> None:
    def leak(each: Sample) -> Sample:
        files = 15 + int(each.seconds // 120)
        return msgspec.structs.replace(each, programs={**each.programs, "worker 1": Program(70.0, 2, files)})

    assert wrong(judge(run(leak), LIMITS, TRUTH, [])) == ["open files of worker 1 do not grow"]


def test_days_that_never_expire_are_told() -> None:
    def keep(each: Sample) -> Sample:
        held = int(each.seconds // 60)
        return msgspec.structs.replace(
            each,
            days=Kind(8 * held, 8 * held * 5_000.0),
            redis_bytes=each.redis_bytes - int(each.days.bytes) + 8 * held * 5_000,
            oldest_day=FIRST_DAY,
        )

    found = wrong(judge(run(keep), LIMITS, TRUTH, []))
    # 60 days at the end, 45 in the middle of the second half: a third more than in its beginning.
    assert found == [
        "no facts from before the horizon",
        "never more than 128 days of facts are kept in the second half",
        "facts and published days grow by at most 25% over the second half",
    ]


def test_published_days_that_nobody_sweeps_are_told() -> None:
    def keep(each: Sample) -> Sample:
        more = 2.0 * 20_000 * each.seconds / 60
        blocks = Kind(each.blocks.count, each.blocks.bytes + more)
        return msgspec.structs.replace(each, blocks=blocks, redis_bytes=each.redis_bytes + int(more))

    assert wrong(judge(run(keep), LIMITS, TRUTH, [])) == [
        "facts and published days grow by at most 25% over the second half"
    ]


def test_keys_that_nobody_counts_are_told_by_what_redis_grows_by() -> None:
    def keep(each: Sample) -> Sample:
        return msgspec.structs.replace(each, redis_bytes=each.redis_bytes + 40_000 * int(each.seconds // 60))

    assert wrong(judge(run(keep), LIMITS, TRUTH, [])) == [
        "the rest of Redis grows with each new contact by at most 1.5 contacts' bytes"
    ]


def test_published_days_from_before_the_horizon_are_told() -> None:
    found = wrong(judge(run(lambda each: msgspec.structs.replace(each, oldest_block=FIRST_DAY)), LIMITS, TRUTH, []))
    assert found == ["no published days from before the horizon"]


def test_workers_that_fall_behind_are_told() -> None:
    found = wrong(judge(run(lambda each: msgspec.structs.replace(each, applied=each.sent // 2)), LIMITS, TRUTH, []))
    assert found == ["workers keep up: less than 15 s behind"]


def test_a_worker_that_ends_and_a_comparison_that_could_not_be_made_are_told() -> None:
    found = wrong(judge(run(), LIMITS, None, ["worker 1 ended by itself (1): boom"]))
    assert found == ["no program ended by itself", "facts and reports equal a batch recomputation"]


def test_one_different_number_is_enough() -> None:
    truth = Truth(facts_compared=1_000, figures_compared=500, differences=["andes 2026-01-02: 1 of 9 facts differ"])
    findings = judge(run(), LIMITS, truth, [])
    assert wrong(findings) == ["facts and reports equal a batch recomputation"]
    assert "andes 2026-01-02" in report(findings)


def test_having_compared_nothing_is_no_pass() -> None:
    truth = Truth(facts_compared=0, figures_compared=0, differences=[])
    assert wrong(judge(run(), LIMITS, truth, [])) == ["facts and reports equal a batch recomputation"]


def test_a_short_run_says_what_it_is_too_short_to_tell() -> None:
    samples = [msgspec.structs.replace(sample(minute), seconds=minute * 2.0) for minute in range(1, 10)]
    findings = judge(samples, LIMITS, TRUTH, [])
    assert passed(findings)
    summary = line(samples, findings, TRUTH)["soak"]
    assert "memory of worker 1 grows by at most 5% over the second half" in summary["not_judged"]
    assert "no facts from before the horizon" in summary["not_judged"]
    assert summary["wrong"] == []


def test_a_run_without_samples_is_told_without_failing() -> None:
    findings = judge([], LIMITS, None, ["kafka ended"])
    assert not passed(findings)
    assert table([]) == "no samples"
    assert line([], findings, None)["soak"]["events"] == 0


def test_a_contact_is_its_state_and_its_share_of_the_older_entries() -> None:
    # 60 contacts of 900 bytes, and one chunk of 1,200 among them.
    assert bytes_per_contact(sample(1)) == pytest.approx(920.0)


def test_the_table_at_the_end_accounts_for_all_memory() -> None:
    text = grows(sample(60))
    assert "contacts' states" in text
    # 2,000,000 bytes that belong to no kind.
    assert [line.split()[-1] for line in text.splitlines() if line.startswith("everything else")] == ["1.9"]
