"""Exports as tables: rows out of CSV, lines of JSON and workbooks, in whatever way the program that wrote them did.

What a mapping does not say of a file is found out: encoding and delimiter of CSV, the sheet of a workbook. What was
found stands in the summary (`Reading`), so that a person sees it and can say otherwise. A file is taken for what it is,
not for what its name says: Excel's files often end in `.csv`, web pages in `.xls`.
"""

import codecs
import contextlib
import csv
import datetime as dt
import zipfile
from collections import Counter
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, TextIO

import msgspec
from msgspec import Struct
from python_calamine import CalamineError, CalamineWorkbook

from schemas.errors import InvalidEvent
from schemas.limits import MAX_CELL_BYTES, MAX_WORKBOOK_BYTES
from streams.ingest.mapping import ExportMapping, MappingError, Row

BAD_ROW = "bad-row"

DELIMITERS = ",;\t|"
"""What is tried where a mapping names no delimiter."""

HEADER_ROWS = 20
"""How far down a sheet its header may stand: titles and logos come before it."""

_JSON_SUFFIXES = (".jsonl", ".ndjson", ".json")
_CHUNK = 1 << 20
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_ZIP, _OLD_OFFICE = b"PK\x03\x04", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_STRANGERS = (
    (b"\x1f\x8b", "compressed with gzip", "unpack it first"),
    (b"BZh", "compressed with bzip2", "unpack it first"),
    (b"\x28\xb5\x2f\xfd", "compressed with zstd", "unpack it first"),
    (b"\xfd7zXZ\x00", "compressed with xz", "unpack it first"),
    (b"%PDF", "a PDF", "export a table: CSV or a workbook"),
    (b"PAR1", "a Parquet file", "convert it to CSV or JSONL first"),
    (b"Obj\x01", "an Avro file", "convert it to JSONL first"),
    (b"SQLite format 3\x00", "an SQLite database", "export its table as CSV"),
)


class Reading(Struct, omit_defaults=True):
    """How a file was read; `guessed` are the parts that the mapping did not say."""

    file: str
    kind: str
    encoding: str | None = None
    delimiter: str | None = None
    sheet: str | None = None
    guessed: list[str] = []

    def told(self) -> str | None:
        """What a person should know who thought of another file; nothing of a plain one."""
        found = {"encoding": self.encoding, "delimiter": self.delimiter, "sheet": self.sheet}
        usual = {"encoding": "utf-8", "delimiter": ","}
        told = [name for name in self.guessed if found[name] not in (None, usual.get(name))]
        if not told:
            return None
        how = ", ".join(f"{name} {found[name]!r}" for name in told)
        return f"{self.file}: read with {how}; if that is wrong, set {', '.join(told)} in the mapping"


Found = tuple[int, Row | InvalidEvent]
"""The line that a row ends on, or its number in a sheet; and the row, or what is wrong with it."""


def rows(path: Path, mapping: ExportMapping, reading: Reading) -> Iterator[Found]:
    """The rows of an export. Fills in `reading`. Raises `MappingError` for a file that cannot be read so."""
    with path.open("rb") as file:
        begin = file.read(4096)
    _refuse_strangers(path, begin)
    if begin.startswith((_ZIP, _OLD_OFFICE)):
        yield from _workbook_rows(path, mapping, reading)
        return
    if path.suffix.lower() in _JSON_SUFFIXES:
        yield from _json_file(path, mapping.encoding, reading)
        return
    with _opened(path, mapping.encoding, reading) as text:
        reading.kind = "csv"
        yield from _csv_rows(path, text, mapping, reading)


def json_lines(path: Path, reading: Reading) -> Iterator[Found]:
    """The objects of a file with one a line, whatever its name is. Raises `MappingError` for what is no such file."""
    with path.open("rb") as file:
        begin = file.read(4096)
    _refuse_strangers(path, begin)
    if begin.startswith((_ZIP, _OLD_OFFICE)):
        raise MappingError(f"{path} is an archive or a workbook: one JSON object a line is read")
    yield from _json_file(path, None, reading)


def _json_file(path: Path, encoding: str | None, reading: Reading) -> Iterator[Found]:
    with _opened(path, encoding, reading) as text:
        reading.kind = "jsonl"
        yield from json_rows(text)


@contextlib.contextmanager
def _opened(path: Path, encoding: str | None, reading: Reading) -> Iterator[TextIO]:
    """A file as text. Bytes that are no text, met anywhere in it, raise `MappingError`."""
    reading.encoding = _encoding(path, encoding, reading)
    try:
        with path.open(encoding=reading.encoding, newline="") as text:
            yield text
    except UnicodeError as error:
        reason = error.reason if isinstance(error, UnicodeDecodeError) else str(error)
        raise MappingError(
            f"{path} is not {codecs.lookup(reading.encoding).name}: set `encoding`, or leave it out ({reason})"
        ) from None


def json_rows(file: TextIO) -> Iterator[Found]:
    """Objects, one a line; in place of a line that is none, what is wrong with it."""
    for number, line in enumerate(file, start=1):
        if number == 1:
            line = line.removeprefix("\ufeff")
        if not line.strip():
            continue
        if number == 1 and line.lstrip().startswith("["):
            yield number, InvalidEvent(BAD_ROW, "a JSON array: write one object a line (jq -c '.[]' does)")
            return
        try:
            row = msgspec.json.decode(line)
        except (msgspec.DecodeError, RecursionError) as error:
            yield number, InvalidEvent(BAD_ROW, str(error))
            continue
        yield number, row if isinstance(row, dict) else InvalidEvent(BAD_ROW, "it is no JSON object")


# --- what a file is ---------------------------------------------------------------------------------------------------


def _refuse_strangers(path: Path, begin: bytes) -> None:
    for mark, what, advice in _STRANGERS:
        if begin.startswith(mark):
            raise MappingError(f"{path} is {what}: {advice}")
    bare = begin.removeprefix(codecs.BOM_UTF8).lstrip().lower()
    if bare.startswith((b"<html", b"<!doctype html", b"<table", b"<meta", b"<head")):
        raise MappingError(f"{path} is a web page, whatever its name says: save it as CSV or as a workbook (.xlsx)")
    if bare.startswith((b"<?xml", b"<workbook", b"mime-version:")):
        raise MappingError(f"{path} is XML, whatever its name says: save it as CSV or as a workbook (.xlsx)")


def _encoding(path: Path, told: str | None, reading: Reading) -> str:
    """The encoding of a file: its own mark's, else the mapping's, else UTF-8 if it is that, else that of Windows."""
    with path.open("rb") as file:
        begin = file.read(4096)
        for mark, encoding in _MARKS:
            if begin.startswith(mark):
                return encoding
        if told is not None:
            return told
        reading.guessed.append("encoding")
        if len(begin) >= 4 and b"\x00" in begin:
            return "utf-16-le" if begin[1:2] == b"\x00" else "utf-16-be"
        file.seek(0)
        if _is_utf8(file):
            return "utf-8"
        file.seek(0)
        return "latin-1" if _has_gaps(file) else "cp1252"


def _is_utf8(file: BinaryIO) -> bool:
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        while chunk := file.read(_CHUNK):
            decoder.decode(chunk)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True


def _has_gaps(file: BinaryIO) -> bool:
    """Whether it has bytes that are no character of Windows' encoding."""
    gaps = frozenset(b"\x81\x8d\x8f\x90\x9d")
    while chunk := file.read(_CHUNK):
        if gaps & set(chunk):
            return True
    return False


# --- CSV --------------------------------------------------------------------------------------------------------------


def _csv_rows(path: Path, file: TextIO, mapping: ExportMapping, reading: Reading) -> Iterator[Found]:
    csv.field_size_limit(MAX_CELL_BYTES)
    first, skipped = _header_line(file)
    told = _separator_told(first)
    if told is not None:
        first, more = _header_line(file)
        skipped += 1 + more
    delimiter = mapping.delimiter or told
    if delimiter is None:
        reading.guessed.append("delimiter")
        delimiter = _guessed_delimiter(first, mapping.columns())
    reading.delimiter = delimiter
    reader = csv.reader(_Again(first, file), delimiter=delimiter, strict=True)
    try:
        header = [_name(name) for name in next(reader, ())]
    except csv.Error as error:
        raise MappingError(f"{path}: the header cannot be read: {error}") from None
    while header and not header[-1] and header[-1] not in mapping.columns():
        header.pop()  # some programs end every line with a delimiter
    _check_header(str(path), header, mapping.columns())
    before = skipped
    while True:
        try:
            cells = next(reader, None)
        except csv.Error as error:
            yield before + reader.line_num, InvalidEvent(BAD_ROW, str(error))
            continue
        if cells is None:
            return
        if not any(cells):
            if cells:
                yield before + reader.line_num, dict.fromkeys(header, "")
            continue
        while len(cells) > len(header) and not cells[-1].strip():
            cells.pop()
        line = before + reader.line_num
        if len(cells) != len(header):
            which = "more" if len(cells) > len(header) else "fewer"
            yield line, InvalidEvent(BAD_ROW, f"it has {which} cells than the header's {len(header)}")
        else:
            yield line, dict(zip(header, cells, strict=True))


class _Again:
    """The lines of a file, after the first one that was read from it already."""

    def __init__(self, first: str, file: TextIO) -> None:
        self._first: str | None = first
        self._file = file

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        if self._first is not None:
            first, self._first = self._first, None
            return first
        return next(self._file)


def _header_line(file: TextIO) -> tuple[str, int]:
    """The first line that is not blank, without a byte-order mark, and how many blank ones came before it."""
    skipped = 0
    for line in file:
        line = line.removeprefix("\ufeff")
        if line.strip():
            return line, skipped
        skipped += 1
    return "", skipped


def _separator_told(line: str) -> str | None:
    """The delimiter that Excel's `sep=` line names, if the line is one."""
    text = line.rstrip("\r\n").strip(" ").strip('"')
    if not text.lower().startswith("sep=") or len(text) > 5:
        return None
    return text[4:] or None


def _guessed_delimiter(header: str, wanted: AbstractSet[str]) -> str:
    """The delimiter under which the header has the most of the columns that are wanted, and of those the most cells."""
    best, best_score = ",", (-1, 0)
    for delimiter in DELIMITERS:
        try:
            names = [_name(name) for name in next(csv.reader([header], delimiter=delimiter), [])]
        except csv.Error:
            continue
        score = (len(wanted & set(names)), len(names))
        if score > best_score:
            best, best_score = delimiter, score
    return best


def _name(text: str) -> str:
    """A column's name without surplus space and marks."""
    return text.strip().strip("\ufeff").strip()


def _check_header(where: str, header: list[str], wanted: AbstractSet[str]) -> None:
    missing = sorted(wanted - set(header))
    if missing:
        raise MappingError(f"{where} has no column {', '.join(map(repr, missing))}; it has {', '.join(header)}")
    counts = Counter(header)
    doubled = sorted(name for name in wanted if counts[name] > 1)
    if doubled:
        raise MappingError(f"{where} has more than one column {', '.join(map(repr, doubled))}")


# --- workbooks --------------------------------------------------------------------------------------------------------


def _workbook_rows(path: Path, mapping: ExportMapping, reading: Reading) -> Iterator[Found]:
    reading.kind = "workbook"
    _check_size(path)
    try:
        # By what it holds: a path would be judged by its name.
        book = CalamineWorkbook.from_filelike(BytesIO(path.read_bytes()))
    except (CalamineError, OSError, ValueError) as error:
        raise MappingError(
            f"{path} is an archive or an Office file, and no workbook that can be read ({error}): "
            "save it as .xlsx or CSV"
        ) from None
    with book:
        name = _sheet(path, book, mapping, reading)
        reading.sheet = name
        sheet = book.get_sheet_by_name(name)
        first = 0 if sheet.start is None else sheet.start[0]
        header: list[str] | None = None
        for number, cells in enumerate(sheet.iter_rows(), start=first + 1):
            if header is None:
                names = [_name(str(cell)) for cell in cells]
                if mapping.columns() <= set(names):
                    _check_header(f"{path}, sheet {name!r},", names, mapping.columns())
                    header = names
                continue
            if any(cell not in ("", None) for cell in cells):
                yield number, _cells(header, cells)


def _cells(header: list[str], cells: list[Any]) -> dict[str, Any]:
    """A row by its columns. A date without a time of day is its midnight."""
    row: dict[str, Any] = {}
    for name, cell in zip(header, cells, strict=False):
        if isinstance(cell, dt.date) and not isinstance(cell, dt.datetime):
            cell = dt.datetime.combine(cell, dt.time())
        elif isinstance(cell, dt.timedelta):
            cell = str(cell)
        row[name] = cell
    return row


def _sheet(path: Path, book: CalamineWorkbook, mapping: ExportMapping, reading: Reading) -> str:
    """The name of the sheet to read: the mapping's, or the first that has a header with every column it asks for."""
    names = book.sheet_names
    if mapping.sheet is not None and mapping.sheet not in names:
        raise MappingError(f"{path} has no sheet {mapping.sheet!r}; it has {', '.join(names)}")
    seen: list[str] = []
    for name in names if mapping.sheet is None else [mapping.sheet]:
        for number, cells in enumerate(book.get_sheet_by_name(name).iter_rows()):
            texts = [_name(str(cell)) for cell in cells]
            if mapping.columns() <= set(texts):
                if mapping.sheet is None and len(names) > 1:
                    reading.guessed.append("sheet")
                return name
            if number == 0:
                seen.append(f"{name!r}: {', '.join(text for text in texts if text)}")
            if number >= HEADER_ROWS:
                break
    wanted = ", ".join(map(repr, sorted(mapping.columns())))
    raise MappingError(f"{path}: no sheet has a header with {wanted}; they begin with {'; '.join(seen)[:500]}")


def _check_size(path: Path) -> None:
    """Refuse a workbook that would unpack to more than fits."""
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        size = sum(part.file_size for part in archive.infolist())
    if size > MAX_WORKBOOK_BYTES:
        raise MappingError(
            f"{path} holds {size:,} bytes unpacked, and a workbook is read whole: save it as CSV, of any size"
        )
