"""The archive keeps every entry exactly, and says so when one was touched."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common import archive, seal, segments
from libs.common.archive import ArchiveReader, ArchiveWriter, manifest_check, manifest_signer
from libs.common.errors import DivergedError, GapError, UsageError
from libs.common.segments import Entry, to_entry, to_row


def entry(seq: int, *, text: str = "x") -> Entry:
    fields = {
        "id": f"{seq:032x}",
        "type": "FeedUp",
        "v": "1",
        "seq": str(seq),
        "at": str(seq * 1_000_000),
        "cause": '[["raw",1]]',
        "correlation": "c" * 32,
        "traceparent": "00-t",
        "data": f'{{"symbol":"{text}{seq}"}}',
    }
    return f"{1000 + seq}-0".encode(), [part.encode() for pair in fields.items() for part in pair]


def written(run_dir: Path, *spans: range, stream: str = "tick", closed: bool = False) -> ArchiveWriter:
    writer = ArchiveWriter(run_dir)
    for span in spans:
        writer.append(stream, [entry(seq) for seq in span])
    writer.write_manifest(closed=closed)
    return writer


def test_what_was_written_is_read_back_in_order_over_segments(tmp_path: Path) -> None:
    written(tmp_path, range(1, 4), range(4, 8))
    reader = ArchiveReader(tmp_path)
    assert reader.streams() == ["tick"]
    assert reader.count("tick") == 7
    assert [row["seq"] for row in reader.rows("tick")] == list(range(1, 8))
    assert [row["entry_id"] for row in reader.rows("tick", after=5)] == ["1006-0", "1007-0"]
    assert list(reader.entries("tick")) == [(i, list(fields)) for i, fields in map(entry, range(1, 8))]
    assert reader.verify_chain() == 7
    names = sorted(path.name for path in (tmp_path / "events" / "tick").iterdir())
    assert names == ["000000000001-000000000003.parquet", "000000000004-000000000007.parquet"]


def test_a_stream_that_was_never_written_has_no_rows(tmp_path: Path) -> None:
    written(tmp_path, range(1, 3))
    assert ArchiveReader(tmp_path).count("fill") == 0
    assert list(ArchiveReader(tmp_path).rows("fill")) == []


def test_streams_with_a_colon_keep_their_name(tmp_path: Path) -> None:
    written(tmp_path, range(1, 3), stream="health:risk")
    written(tmp_path, range(1, 3), stream="order-intent")
    assert ArchiveReader(tmp_path).streams() == ["health:risk", "order-intent"]
    assert (tmp_path / "events" / "health-risk").is_dir()


def test_a_journal_without_seq_is_counted(tmp_path: Path) -> None:
    writer = ArchiveWriter(tmp_path)
    page = [(f"{version}-0".encode(), [b"data", f'[[["tick",{version}]]]'.encode()]) for version in range(1, 6)]
    writer.append("journal:risk", page[:2])
    writer.append("journal:risk", page)
    reader = ArchiveReader(tmp_path)
    assert list(reader.entries("journal:risk")) == page
    assert writer.last("journal:risk") == (5, "5-0")
    assert reader.verify_chain() == 5


def test_writing_the_same_entries_again_doubles_nothing(tmp_path: Path) -> None:
    written(tmp_path, range(1, 5))
    again = ArchiveWriter(tmp_path)
    assert again.append("tick", [entry(seq) for seq in range(1, 7)]) == 2
    assert [row["seq"] for row in ArchiveReader(tmp_path).rows("tick")] == [1, 2, 3, 4, 5, 6]


def test_a_hole_in_seq_is_refused(tmp_path: Path) -> None:
    writer = written(tmp_path, range(1, 4))
    with pytest.raises(GapError, match="expected seq 4 of tick"):
        writer.append("tick", [entry(5)])
    assert ArchiveReader(tmp_path).count("tick") == 3


def test_what_a_kill_left_half_written_is_removed(tmp_path: Path) -> None:
    written(tmp_path, range(1, 4))
    half = tmp_path / "events" / "tick" / ".000000000004-000000000009.parquet.77"
    half.write_bytes(b"PAR1")
    writer = ArchiveWriter(tmp_path)
    assert not half.exists()
    assert writer.last("tick") == (3, "1003-0")


def test_a_segment_written_after_the_last_manifest_counts(tmp_path: Path) -> None:
    writer = written(tmp_path, range(1, 4))
    writer.append("tick", [entry(4)])  # killed before the manifest
    assert ArchiveWriter(tmp_path).last("tick") == (4, "1004-0")
    assert ArchiveReader(tmp_path).verify_chain() == 4


def test_small_segments_are_merged_and_the_chain_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "COMPACT_AT", 4)
    writer = written(tmp_path, *[range(n, n + 1) for n in range(1, 6)])
    before = list(ArchiveReader(tmp_path).entries("tick"))
    assert writer.compact("tick")
    writer.append("tick", [entry(6)])
    writer.write_manifest(closed=True)
    names = sorted(path.name for path in (tmp_path / "events" / "tick").iterdir())
    assert names == ["000000000001-000000000005.parquet", "000000000006-000000000006.parquet"]
    assert list(ArchiveReader(tmp_path).entries("tick"))[:5] == before
    assert ArchiveReader(tmp_path).verify_chain() == 6


def test_a_merge_killed_before_the_old_files_went_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "COMPACT_AT", 2)
    writer = written(tmp_path, range(1, 3), range(3, 5))
    old = {path: path.read_bytes() for path in (tmp_path / "events" / "tick").iterdir()}
    writer.compact("tick")
    for path, content in old.items():
        path.write_bytes(content)
    assert [row["seq"] for row in ArchiveReader(tmp_path).rows("tick")] == [1, 2, 3, 4]
    assert ArchiveReader(tmp_path).verify_chain() == 4
    assert ArchiveWriter(tmp_path).last("tick") == (4, "1004-0")
    assert len(list((tmp_path / "events" / "tick").iterdir())) == 1


# --- tampering ---------------------------------------------------------------------------------------------------


def segment_files(run_dir: Path) -> list[Path]:
    return sorted((run_dir / "events" / "tick").glob("*.parquet"))


def rewrite(path: Path, change: object) -> None:
    """Change rows of a segment and write a valid Parquet file again, as a forger would."""
    assert callable(change)
    rows = pq.read_table(path, partitioning=None).to_pylist()
    pq.write_table(pa.Table.from_pylist(change(rows), schema=pq.read_schema(path)), path)


def forget_digests(run_dir: Path) -> None:
    """Take the file digests out of the manifest, so that only the chain of rows can tell."""
    path = run_dir / "events" / archive.MANIFEST
    manifest = msgspec.json.decode(path.read_bytes(), type=archive.Manifest)
    for shelf in manifest.streams.values():
        shelf.segments = []
    path.write_bytes(msgspec.json.encode(manifest))


def test_any_changed_byte_of_a_file_is_found(tmp_path: Path) -> None:
    written(tmp_path, range(1, 4), range(4, 7), closed=True)
    path = segment_files(tmp_path)[1]
    good = path.read_bytes()
    for at in range(0, len(good), 97):
        path.write_bytes(good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :])
        with pytest.raises(DivergedError):
            ArchiveReader(tmp_path).verify_chain()
    path.write_bytes(good)
    assert ArchiveReader(tmp_path).verify_chain() == 6


def changed(rows: list[dict[str, object]]) -> list[dict[str, object]]:
    return [{**rows[0], "data": '{"symbol":"y"}'}, *rows[1:]]


def without_middle(rows: list[dict[str, object]]) -> list[dict[str, object]]:
    return [rows[0], rows[2]]


def doubled(rows: list[dict[str, object]]) -> list[dict[str, object]]:
    return [*rows, rows[-1]]


def reordered(rows: list[dict[str, object]]) -> list[dict[str, object]]:
    return [rows[1], rows[0], *rows[2:]]


@pytest.mark.parametrize("forge", [changed, without_middle, doubled, reordered])
def test_a_forged_row_is_found_by_the_chain_alone(tmp_path: Path, forge: object) -> None:
    written(tmp_path, range(1, 4), range(4, 7), closed=True)
    forget_digests(tmp_path)
    assert ArchiveReader(tmp_path).verify_chain() == 6
    rewrite(segment_files(tmp_path)[0], forge)
    with pytest.raises(DivergedError):
        ArchiveReader(tmp_path).verify_chain()


@pytest.mark.parametrize("which", [0, 1, 2])
def test_a_missing_segment_is_found(tmp_path: Path, which: int) -> None:
    written(tmp_path, range(1, 4), range(4, 7), range(7, 9))
    segment_files(tmp_path)[which].unlink()
    with pytest.raises(DivergedError):
        ArchiveReader(tmp_path).verify_chain()


def test_a_missing_stream_is_found(tmp_path: Path) -> None:
    written(tmp_path, range(1, 4))
    for path in segment_files(tmp_path):
        path.unlink()
    with pytest.raises(DivergedError, match="rows are missing"):
        ArchiveReader(tmp_path).verify_chain()


def test_rows_added_to_a_closed_archive_are_found(tmp_path: Path) -> None:
    written(tmp_path, range(1, 4), closed=True)
    manifest = (tmp_path / "events" / archive.MANIFEST).read_bytes()
    ArchiveWriter(tmp_path).append("tick", [entry(4)])
    (tmp_path / "events" / archive.MANIFEST).write_bytes(manifest)
    with pytest.raises(DivergedError, match="added"):
        ArchiveReader(tmp_path).verify_chain()


def test_a_writer_does_not_go_on_after_rows_it_did_not_write(tmp_path: Path) -> None:
    test_rows_added_to_a_closed_archive_are_found(tmp_path)
    with pytest.raises(DivergedError, match="events verify"):
        ArchiveWriter(tmp_path)


def test_the_signature_covers_every_stream(tmp_path: Path) -> None:
    private, public = seal.generate()
    check = manifest_check(public)
    sign, key_id = manifest_signer(private)
    writer = ArchiveWriter(tmp_path, sign=sign, key_id=key_id)
    writer.append("tick", [entry(1)])
    writer.write_manifest()
    assert ArchiveReader(tmp_path).verify_chain(check) == 1
    with pytest.raises(DivergedError, match="signature"):
        ArchiveReader(tmp_path).verify_chain(manifest_check(seal.generate()[1]))
    path = tmp_path / "events" / archive.MANIFEST
    path.write_bytes(path.read_bytes().replace(b'"rows": 1', b'"rows": 2'))
    with pytest.raises(DivergedError, match="signature"):
        ArchiveReader(tmp_path).verify_chain(check)


def test_no_archive_is_the_callers_fault(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="name a run directory"):
        ArchiveReader(tmp_path / "nowhere")


# --- any entry ---------------------------------------------------------------------------------------------------

NAMES = st.sampled_from([b"id", b"seq", b"at", b"v", b"data", b"other", b"\xff"])


@given(st.lists(st.tuples(NAMES, st.one_of(st.binary(max_size=12), st.integers().map(lambda n: b"%d" % n)))))
def test_an_entry_survives_whatever_is_in_it(fields: list[tuple[bytes, bytes]]) -> None:
    flat = [part for pair in fields for part in pair]
    row = to_row(b"5-1", flat)
    entry_id, back = to_entry(row)
    assert entry_id == b"5-1"
    assert sorted(zip(back[::2], back[1::2], strict=True)) == sorted(fields)
    assert segments.chain(segments.GENESIS, row) == segments.chain(segments.GENESIS, to_row(b"5-1", back))
