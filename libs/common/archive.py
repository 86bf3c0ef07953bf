"""The archive: every stream as Parquet segments in which a changed, missing, added or moved entry is found.

`<run-dir>/events/<stream, ':' as '-'>/<first seq>-<last seq>.parquet` holds rows in stream order. Each row carries the hash
of the row before it and its own, `SHA-256(previous hash + canonical bytes of the row)`; `manifest.json` names for each stream
the number of rows and the last hash, and for each segment the SHA-256 of its file, and may be signed.

A segment appears whole or not at all (written aside, synced, renamed) and the next one starts where the last one on disk
ends, so a writer that was killed goes on without losing or doubling an entry. Journals are kept like streams, under
`journal:<service>`; their entries have no seq, so their rows are counted.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from libs.common import killpoints
from libs.common.errors import DivergedError, GapError, UsageError
from libs.common.segments import (
    ALL,
    GENESIS,
    Entry,
    Row,
    chain,
    file_digest,
    file_name,
    merged,
    order,
    parquet,
    read_columns,
    read_rows,
    segments_of,
    to_entry,
    to_row,
)
from libs.common.telemetry import sync_directory, write_atomically

MANIFEST = "manifest.json"
COMPACT_AT = 64
"""Small segments of one stream that are merged into one, so that a long run does not drown in files."""
SMALL_ROWS = 20_000

Sign = Callable[[bytes], str]
"""From the manifest's canonical bytes to a signature (hex)."""
Check = Callable[[bytes, str, str], bool]
"""Whether (canonical bytes, key id, signature) belong together."""


class Segment(msgspec.Struct):
    """One file as the manifest has it: row numbers, row count and SHA-256 (hex)."""

    first: int
    last: int
    rows: int
    sha256: str


class Shelf(msgspec.Struct):
    """One stream as the manifest has it. `hash` (hex) is that of the last row."""

    rows: int = 0
    last_seq: int = 0
    last_entry_id: str = ""
    hash: str = GENESIS.hex()
    segments: list[Segment] = []


class Manifest(msgspec.Struct):
    """`closed`: the writer ended in order, nothing may follow."""

    version: int = 1
    closed: bool = False
    streams: dict[str, Shelf] = {}
    key_id: str = ""
    signature: str = ""

    def signed_bytes(self) -> bytes:
        """What the signature is over: the manifest without it."""
        return msgspec.json.encode(msgspec.structs.replace(self, signature=""), order="deterministic")


def manifest_signer(private_hex: str) -> tuple[Sign, str]:
    """What signs manifests with an Ed25519 key (RFC 8032, 32 bytes in hex), and the key's id: half of its public key."""
    key = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(private_hex))
    return lambda message: key.sign(message).hex(), key.public_key().public_bytes_raw().hex()[:32]


def manifest_check(public_hex: str) -> Check:
    """What `verify_chain` takes to accept this key's signature only."""
    key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(public_hex))

    def check(message: bytes, key_id: str, signature: str) -> bool:
        try:
            key.verify(bytes.fromhex(signature), message)
        except (InvalidSignature, ValueError):
            return False
        return key_id == public_hex[:32]

    return check


def folder_of(stream: str) -> str:
    return stream.replace(":", "-")


def stream_of_folder(folder: str) -> str:
    head, dash, tail = folder.partition("-")
    return f"{head}:{tail}" if dash and head in ("health", "journal") else folder


# --- reading ---------------------------------------------------------------------------------------------------------


class ArchiveReader:
    """A finished or growing archive: `<run-dir>/events`, or the run directory itself."""

    def __init__(self, path: Path) -> None:
        events = path / "events"
        self.path = events if events.is_dir() else path
        if not self.path.is_dir():
            raise UsageError(f"expected an archive at {self.path}, was nothing there; name a run directory")

    def streams(self) -> list[str]:
        """Bare names of the streams that have rows, journals too, in order."""
        folders = sorted(path.name for path in self.path.iterdir() if path.is_dir())
        return [stream_of_folder(name) for name in folders if segments_of(self.path / name)]

    def count(self, stream: str) -> int:
        """Rows of a stream, from the segments' names."""
        return sum(last - first + 1 for first, last, _ in self._segments(stream))

    def rows(self, stream: str, after: int | None = None, *, columns: Sequence[str] | None = None) -> Iterator[Row]:
        """Rows in order, those with a row number (the seq of a stream) above `after`; a few thousand in memory at a time.

        `columns`: only these, where the rest is not needed.
        """
        for number, row in self._numbered(stream, after or 0, columns or ALL):
            if after is None or number > after:
                yield row

    def entries(self, stream: str, after: int | None = None) -> Iterator[tuple[bytes, list[bytes]]]:
        """The same as Redis entries: (entry id, flat field list)."""
        return (to_entry(row) for row in self.rows(stream, after))

    def columns(self, stream: str, names: Sequence[str]) -> Iterator[list[list[Any]]]:
        """The rows as one list a column, a few thousand rows at a time: for what reads millions of them.

        Raises DivergedError when a row lacks one of them or has an `extra`.
        """
        for _, _, path in self._segments(stream):
            for values in read_columns(path, (*names, "extra")):
                if any(None in column for column in values[:-1]) or any(values[-1]):
                    raise DivergedError(
                        f"expected {stream} as its service writes it in {path}, was an entry of another form"
                    )
                yield values[:-1]

    def manifest(self) -> Manifest | None:
        """The manifest, or None before the first was written."""
        try:
            return msgspec.json.decode((self.path / MANIFEST).read_bytes(), type=Manifest)
        except FileNotFoundError:
            return None
        except msgspec.DecodeError as e:
            raise DivergedError(f"expected {self.path / MANIFEST} to be a manifest, was not: {e}") from e

    def verify_chain(self, check: Check | None = None) -> int:
        """Re-compute every hash; returns the rows verified.

        `check(bytes, key id, signature)` verifies the manifest's signature. Raises DivergedError naming the first row or
        file that is changed, missing, added or out of order.
        """
        manifest = self.manifest()
        if check is not None and not (manifest and check(manifest.signed_bytes(), manifest.key_id, manifest.signature)):
            raise DivergedError(
                f"expected {self.path / MANIFEST} with a valid signature, was unsigned, changed or missing"
            )
        shelves = manifest.streams if manifest else {}
        closed = bool(manifest and manifest.closed)
        names = sorted({*self.streams(), *shelves})
        return sum(self._verify(name, shelves.get(name), closed) for name in names)

    def _verify(self, stream: str, shelf: Shelf | None, closed: bool) -> int:
        segments = self._segments(stream)
        self._verify_files(stream, segments, shelf)
        previous, count, expected = GENESIS, 0, segments[0][0] if segments else 0
        sealed = GENESIS.hex()
        for first, last, path in segments:
            if first != expected:
                raise DivergedError(
                    f"expected {stream} to go on at {expected}, was {first} ({path.name}); a segment is missing"
                )
            rows = 0
            for row in read_rows(path, (*ALL, "prev_hash", "hash")):
                stated, rows = row.pop("hash"), rows + 1
                if row.pop("prev_hash") != previous or chain(previous, row) != stated:
                    raise DivergedError(
                        f"expected {stream} {row['entry_id']} as it was archived, was changed, added or moved"
                    )
                previous, count = stated, count + 1
                if shelf and count == shelf.rows:
                    sealed = stated.hex()
            if rows != last - first + 1:
                raise DivergedError(f"expected {last - first + 1} rows in {path}, was {rows}")
            expected = last + 1
        if shelf and (count < shelf.rows or sealed != shelf.hash):
            raise DivergedError(
                f"expected {shelf.rows} rows of {stream} ending in {shelf.hash[:12]}, was {count}; rows are missing"
            )
        if closed and count != (shelf.rows if shelf else 0):
            raise DivergedError(f"expected {shelf.rows if shelf else 0} rows of {stream}, was {count}; rows were added")
        return count

    def _verify_files(self, stream: str, segments: list[tuple[int, int, Path]], shelf: Shelf | None) -> None:
        stated = {(segment.first, segment.last): segment.sha256 for segment in shelf.segments} if shelf else {}
        for first, last, path in segments:
            digest = stated.get((first, last))
            if digest and digest != file_digest(path):
                raise DivergedError(f"expected {path} as it was archived, was changed in some byte (stream {stream})")

    def _segments(self, stream: str) -> list[tuple[int, int, Path]]:
        return segments_of(self.path / folder_of(stream))

    def _numbered(self, stream: str, after: int, columns: Sequence[str]) -> Iterator[tuple[int, Row]]:
        for first, last, path in self._segments(stream):
            if last > after:
                yield from enumerate(read_rows(path, columns), first)


# --- writing ---------------------------------------------------------------------------------------------------------


class ArchiveWriter:
    """The one writer of `<run-dir>/events`. Nothing is kept that the directory does not say, but for speed."""

    def __init__(self, run_dir: Path, *, sign: Sign | None = None, key_id: str = "") -> None:
        self.path = run_dir / "events"
        self.path.mkdir(parents=True, exist_ok=True)
        self._sign, self._key_id = sign, key_id
        self._shelves: dict[str, Shelf] = {}
        reader = ArchiveReader(self.path)
        manifest = reader.manifest() or Manifest()
        for name in reader.streams():
            self._shelves[name] = self._recover(name, manifest.streams.get(name))
        self._compare(manifest)
        self.write_manifest()

    def last(self, stream: str) -> tuple[int, str]:
        """(row number, entry id) of the last row on disk; (0, "") when there is none."""
        shelf = self._shelves.get(stream)
        return (shelf.last_seq, shelf.last_entry_id) if shelf else (0, "")

    def append(self, stream: str, entries: Iterable[Entry]) -> int:
        """Write one segment of the entries that follow the last one on disk; older ones are skipped. Returns rows written.

        Raises GapError when a seq is missing: an archive with a hole must not look whole.
        """
        shelf = self._shelves.get(stream) or Shelf()
        rows: list[Row] = []
        previous, number, last_id = bytes.fromhex(shelf.hash), shelf.last_seq, shelf.last_entry_id
        for entry_id, fields in entries:
            row = to_row(entry_id, fields)
            if last_id and order(row["entry_id"]) <= order(last_id):
                continue
            number = _next_number(stream, row, number, started=bool(last_id))
            digest = chain(previous, row)
            row["prev_hash"], row["hash"], previous, last_id = previous, digest, digest, row["entry_id"]
            rows.append(row)
        if rows:
            segment = self._write_segment(stream, number - len(rows) + 1, number, len(rows), parquet(rows))
            segments = [*shelf.segments, segment]
            self._shelves[stream] = Shelf(shelf.rows + len(rows), number, last_id, previous.hex(), segments)
        return len(rows)

    def compact(self, stream: str) -> bool:
        """Merge the small segments at a stream's end when there are many; rows and hashes stay as they are."""
        shelf = self._shelves.get(stream)
        small = _small_tail(shelf.segments) if shelf else []
        if shelf is None or len(small) < COMPACT_AT:
            return False
        directory = self.path / folder_of(stream)
        old = [directory / file_name(segment.first, segment.last) for segment in small]
        first, last, rows = small[0].first, small[-1].last, sum(segment.rows for segment in small)
        whole = self._write_segment(stream, first, last, rows, merged(old))
        shelf.segments = [*shelf.segments[: -len(small)], whole]
        self.write_manifest()  # before the old files go: what it names is always there
        for path in old:
            path.unlink()
        return True

    def write_manifest(self, closed: bool = False) -> None:
        manifest = Manifest(closed=closed, streams=dict(sorted(self._shelves.items())), key_id=self._key_id)
        if self._sign is not None:
            manifest.signature = self._sign(manifest.signed_bytes())
        write_atomically(self.path / MANIFEST, msgspec.json.format(msgspec.json.encode(manifest), indent=1))

    def _write_segment(self, stream: str, first: int, last: int, rows: int, content: bytes) -> Segment:
        write_atomically(self.path / folder_of(stream) / file_name(first, last), content)
        killpoints.passing("segment-written")
        return Segment(first, last, rows, hashlib.sha256(content).hexdigest())

    def _compare(self, manifest: Manifest) -> None:
        """Going on would seal what was changed while nobody wrote: refuse."""
        for name, shelf in manifest.streams.items():
            found = self._shelves.get(name, Shelf())
            if found.rows < shelf.rows or (manifest.closed and found.hash != shelf.hash):
                raise DivergedError(
                    f"expected {shelf.rows} rows of {name} in {self.path}, was {found.rows}; run `tidegate events verify`"
                )

    def _recover(self, stream: str, shelf: Shelf | None) -> Shelf:
        """What the segments on disk say; files that a merge made superfluous go."""
        directory = self.path / folder_of(stream)
        segments = segments_of(directory)
        live = {path for _, _, path in segments}
        for path in directory.iterdir():
            if path not in live:
                path.unlink()  # half written, or merged into a longer one
        sync_directory(directory)
        stated = {(segment.first, segment.last): segment for segment in shelf.segments} if shelf else {}
        known = [
            stated.get((first, last)) or Segment(first, last, last - first + 1, file_digest(path))
            for first, last, path in segments
        ]
        (tail,) = deque(read_rows(segments[-1][2], ("entry_id", "hash")), maxlen=1)
        rows = sum(segment.rows for segment in known)
        return Shelf(rows, segments[-1][1], tail["entry_id"], tail["hash"].hex(), known)


def _next_number(stream: str, row: Row, number: int, *, started: bool) -> int:
    seq = row["seq"]
    if seq is None:
        return number + 1
    if started and seq != number + 1:
        raise GapError(
            f"expected seq {number + 1} of {stream} at {row['entry_id']}, was {seq}; look for what trimmed it"
        )
    return int(seq)


def _small_tail(segments: list[Segment]) -> list[Segment]:
    """The segments at the end that are small."""
    start = len(segments)
    while start and segments[start - 1].rows < SMALL_ROWS:
        start -= 1
    return segments[start:]
