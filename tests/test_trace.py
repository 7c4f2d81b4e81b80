"""Traces of real services: three published formats, read strictly and as a stream."""

import tracemalloc
from itertools import islice
from pathlib import Path

import pytest

from gateproof.errors import UsageError
from gateproof.trace import TraceFacts, TraceRow, read_trace, scan_trace

# Made up, in the shapes of the published files.
AZURE = (
    "TIMESTAMP,ContextTokens,GeneratedTokens\n"
    "2023-11-16 23:59:59.9999999,374,44\n"
    "2023-11-17 00:00:00.0000001,396,0\n"
    "2023-11-17 00:00:02,20,5\n"
)
AZURE_2024 = (
    "TIMESTAMP,ContextTokens,GeneratedTokens\r\n"
    "2024-05-10 00:00:00.009930+00:00,2162,5\r\n"
    "2024-05-10 00:00:01.017335+00:00,2399,6\r\n"
)
BURST = (
    "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n"
    "5,ChatGPT,472,18,490,Conversation log\n"
    "45,ChatGPT,1087,0,1087,Conversation log\n"
)
BURST_NEW = (
    "Timestamp,Session ID,Elapsed time,Model,Request tokens,Response tokens,Total tokens,Log Type\n"
    '19440110.0,a-b,43,"GPT-4, big",906,446,1352,Conversation log\n'
    "19440110.5,c-d,2,ChatGPT,36,29,65,API log\n"
)
MOONCAKE = (
    '{"timestamp": 27482, "input_length": 6955, "output_length": 52, "hash_ids": [46, 47]}\n'
    '{"timestamp": 30535.5, "input_length": 6472, "output_length": 26, "hash_ids": [46]}\n\n'
)
TRACES = {
    "azure": (AZURE, [(0, 374, 44), (200, 396, 1), (2_000_000_100, 20, 5)]),
    "azure ": (AZURE_2024, [(0, 2162, 5), (1_007_405_000, 2399, 6)]),
    "burstgpt": (BURST, [(0, 472, 18), (40_000_000_000, 1087, 1)]),
    "burstgpt ": (BURST_NEW, [(0, 906, 446), (500_000_000, 36, 29)]),
    "mooncake": (MOONCAKE, [(0, 6955, 52), (3_053_500_000, 6472, 26)]),
}


@pytest.mark.parametrize("name", TRACES)
def test_published_formats_are_read(name: str, tmp_path: Path) -> None:
    """Times count from the first request and keep every digit; lengths are those of the line."""
    text, wanted = TRACES[name]
    path = tmp_path / "trace"
    path.write_bytes(text.encode("utf-8-sig"))

    assert list(read_trace(path, name.strip())) == [TraceRow(*row) for row in wanted]


@pytest.mark.parametrize(
    ("kind", "text", "says"),
    [
        ("azure", BURST, "line 1: the header has no column 'TIMESTAMP'"),
        ("azure", AZURE + "2023-11-17 00:00:03,7\n", "line 5: it has 2 columns"),
        ("azure", AZURE + "2023-11-31 00:00:03,7,8\n", "line 5: TIMESTAMP has no such day"),
        ("azure", AZURE + "17.11.2023,7,8\n", "line 5: TIMESTAMP is '17.11.2023'"),
        ("azure", AZURE + "2023-11-17 00:00:03,-7,8\n", "line 5: a count of tokens is '-7'"),
        ("azure", AZURE + "2023-11-17 00:00:01,7,8\n", "line 5: its time is before that of"),
        ("burstgpt", BURST + "nan,x,1,2,3,y\n", "line 4: its time is 'nan'"),
        ("burstgpt", BURST + "46,x,1e9,2,3,y\n", "line 4: a count of tokens is '1e9'"),
        ("burstgpt", BURST + '46,"x,1,2,3,y\n', "line 4: it is no line of CSV"),
        ("burstgpt", BURST + "46,x,99999999999,2,3,y\n", "more than 10000000"),
        ("mooncake", MOONCAKE + "[1]\n", "line 4: it is no JSON object"),
        ("mooncake", MOONCAKE + '{"timestamp": 1', "line 4: it is not JSON"),
        ("mooncake", MOONCAKE + "[" * 100_000 + "\n", "line 4: it is not JSON"),
        ("mooncake", '{"timestamp": 1, "input_length": true}', "input_length is missing"),
        ("mooncake", "x" * 2_000_000, "line 1: it has more than 1048576 characters"),
        ("azur", AZURE, "Unknown trace format: 'azur'"),
    ],
)
def test_a_wrong_line_is_named(kind: str, text: str, says: str, tmp_path: Path) -> None:
    """What is not of the format is refused, with the number of its line."""
    path = tmp_path / "trace"
    path.write_text(text)
    with pytest.raises(UsageError) as refused:
        list(read_trace(path, kind))

    assert says in str(refused.value)


def test_a_trace_is_scanned(tmp_path: Path) -> None:
    """A scan tells what a trace holds up to a time; one that holds nothing is refused."""
    path = tmp_path / "trace.csv"
    path.write_text(AZURE)

    assert scan_trace(path, "azure") == TraceFacts(3, 2.0000001, 790, 50)
    assert scan_trace(path, "azure") is scan_trace(path, "azure")  # it is read once
    assert scan_trace(path, "azure", 1.0) == TraceFacts(2, 2e-7, 770, 45)
    path.write_text(AZURE.splitlines()[0])
    with pytest.raises(UsageError, match="holds no request"):
        scan_trace(path, "azure")
    with pytest.raises(UsageError, match="cannot be read"):
        scan_trace(tmp_path / "none", "azure")


def test_a_long_trace_costs_no_memory(tmp_path: Path) -> None:
    """A file is read as a stream: its size does not show in memory."""
    path = tmp_path / "trace.csv"
    head, *_ = BURST.splitlines(keepends=True)
    path.write_text(head + "".join(f"{n},ChatGPT,100,10,110,API log\n" for n in range(50_000)))
    tracemalloc.start()
    last = next(islice(read_trace(path, "burstgpt"), 49_999, None))
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert last == TraceRow(49_999 * 10**9, 100, 10)
    assert most < 200_000 < path.stat().st_size
