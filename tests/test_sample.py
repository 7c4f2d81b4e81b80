"""Samples are kept to the last whole record, at 96 bytes a request."""

import json
import struct
from pathlib import Path

import pytest

from gateproof.errors import UsageError
from gateproof.sample import (
    ERROR_SAYS,
    FLAG_SAYS,
    NEVER,
    RECORD_SIZE,
    ErrorKind,
    Flag,
    LagWriter,
    Sample,
    SampleWriter,
    clocks_of,
    read_lag,
    read_samples,
    sample_dtype,
)

MS = 1_000_000


def _write(folder: Path, worker: str, count: int) -> None:
    """Write samples with two stamps each."""
    writer = SampleWriter(folder, worker)
    for number in range(count):
        sent = 10**12 + number * MS
        sample = Sample(due_ns=sent - MS, sent_ns=sent, first_token_ns=sent + 5 * MS, number=number)
        sample.end_ns = sent + 9 * MS
        writer.add(sample, [sent + 5 * MS, sent + 7 * MS + 600])
    writer.close()


def test_record_is_under_a_hundred_bytes() -> None:
    """A request costs 96 bytes beside its stamps, and numpy reads the same layout."""
    assert (RECORD_SIZE, sample_dtype().itemsize) == (96, 96)


def test_round_trip(tmp_path: Path) -> None:
    """What was written is read back, to the nearest microsecond."""
    _write(tmp_path, "1", 3)
    samples = read_samples(tmp_path)
    row = samples.records[2]

    got = {name: int(row[name]) for name in ("due_ns", "sent_ns", "first_token_us", "end_us")}
    assert got == {
        "due_ns": 10**12 + MS,
        "sent_ns": 10**12 + 2 * MS,
        "first_token_us": 5000,
        "end_us": 9000,
    }
    assert int(row["first_byte_us"]) == NEVER
    assert samples.stamps.tolist() == [5000, 7001] * 3


def test_workers_are_joined(tmp_path: Path) -> None:
    """Stamps of several workers are one array, and each record points at its own."""
    _write(tmp_path, "1", 2)
    _write(tmp_path, "2", 1)

    assert sorted(read_samples(tmp_path).records["stamps_at"].tolist()) == [0, 2, 4]


@pytest.mark.parametrize("cut", [1, 50, 95], ids=["one-byte", "half", "all-but-one"])
def test_torn_record_is_left_out(tmp_path: Path, cut: int) -> None:
    """A file that ends inside a record is read to the last whole one."""
    _write(tmp_path, "1", 3)
    path = tmp_path / "samples.1.bin"
    path.write_bytes(path.read_bytes()[:-cut])

    assert len(read_samples(tmp_path).records) == 2


def test_record_without_its_stamps_is_lost(tmp_path: Path) -> None:
    """A record whose stamps were cut off is left out, and counted."""
    _write(tmp_path, "1", 3)
    path = tmp_path / "stamps.1.bin"
    path.write_bytes(path.read_bytes()[:-3])
    samples = read_samples(tmp_path)

    assert (len(samples.records), samples.lost) == (2, 1)


def test_late_stamps_saturate(tmp_path: Path) -> None:
    """A time beyond 71 minutes is kept as the latest time there is."""
    writer = SampleWriter(tmp_path, "1")
    writer.add(Sample(sent_ns=1, end_ns=2 * 3600 * 10**9), [2 * 3600 * 10**9])
    writer.close()
    samples = read_samples(tmp_path)

    assert (int(samples.records["end_us"][0]), samples.stamps.tolist()) == (NEVER - 1, [NEVER - 1])


def test_foreign_file_is_refused(tmp_path: Path) -> None:
    """A file that is no sample file is answered with what was wanted."""
    (tmp_path / "samples.1.bin").write_bytes(b"x" * 200)
    with pytest.raises(UsageError, match="not a load sample file"):
        read_samples(tmp_path)


def test_appending_goes_on(tmp_path: Path) -> None:
    """A second writer of the same worker goes on behind the first."""
    _write(tmp_path, "1", 2)
    _write(tmp_path, "1", 1)

    assert sorted(read_samples(tmp_path).records["stamps_at"].tolist()) == [0, 2, 4]


def test_lag_round_trip(tmp_path: Path) -> None:
    """Timer ticks are read back in microseconds."""
    lag = LagWriter(tmp_path, "1")
    lag.add(1000, 250_000)
    lag.close()
    due, late = read_lag(tmp_path)

    assert (due.tolist(), late.tolist()) == ([1000], [250])


def test_hosts_are_read_on_one_clock(tmp_path: Path) -> None:
    """Times of a host that booted later are shifted by the wall clocks; one host's are not."""
    for worker, boot, monotonic_ns in (
        ("1", b"a" * 16, 100),
        ("2", b"b" * 16, 7),
        ("3", b"a", 100),
    ):
        _write(tmp_path, worker, 1)
        path = tmp_path / f"samples.{worker}.bin"
        data = bytearray(path.read_bytes())
        data[16:32] = struct.pack("<qq", 1_000_000, monotonic_ns)
        data[40:56] = boot.ljust(16, b"a")
        path.write_bytes(data)
        lag = LagWriter(tmp_path, worker)
        lag.add(1000, 0)
        lag.close()
        lag_path = tmp_path / f"lag.{worker}.bin"
        lag_path.write_bytes(b"GPLAGLAG" + lag_path.read_bytes()[8:16] + data[16:64]
                             + lag_path.read_bytes()[64:])  # fmt: skip

    shifts = {name: clock.common(10**12) - 10**12 for name, clock in clocks_of(tmp_path).items()}

    assert shifts == {"1": 0, "2": 93, "3": 0}
    assert (read_samples(tmp_path).records["due_ns"] - 10**12 + MS).tolist() == [0, 0, 93]
    assert sorted(read_lag(tmp_path)[0].tolist()) == [1000, 1000, 1093]


def test_a_clock_that_was_measured_counts(tmp_path: Path) -> None:
    """What the leading host measured goes before what the hosts' wall clocks say."""
    for worker in ("w0", "w1"):
        _write(tmp_path, worker, 1)
        lag = LagWriter(tmp_path, worker)
        lag.add(1000, 0)
        lag.close()
    rows = [{"at_ns": 10**12 + at, "ahead_ns": at // 100, "within_ns": 9} for at in (-MS, MS)]
    (tmp_path / "workers.json").write_text(json.dumps({"expected": 2, "clocks": {"w1": rows}}))
    samples = read_samples(tmp_path)

    assert sorted((samples.records["due_ns"] - 10**12 + MS).tolist()) == [0, MS // 100]
    assert (samples.records["sent_ns"] - samples.records["due_ns"]).tolist() == [MS, MS]
    assert sorted(read_lag(tmp_path)[0].tolist()) == [1000, 1000 + MS // 100]


def test_every_kind_is_explained() -> None:
    """Each error kind and flag has a sentence."""
    assert (set(ERROR_SAYS), set(FLAG_SAYS)) == (set(ErrorKind), set(Flag))
