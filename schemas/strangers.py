"""What a record is that is none of ours: envelopes and serializers of other systems, named for who must mend them.

Only asked about records that were refused already. `value_hint` and `key_hint` look at the first bytes and at a few
names; they decide nothing.
"""

import codecs
import re

import msgspec

_MOST_LOOKED_AT = 1 << 20

_SCHEMA_REGISTRY = "Confluent Schema Registry's wire format (a zero byte and a schema's number come before the content)"
_PLAIN_JSON = "send the event alone, as JSON in UTF-8"

_MARKS: tuple[tuple[bytes, str, str], ...] = (
    (b"\x1f\x8b", "gzip", "compress records by the producer's compression.type, not each value"),
    (b"\x28\xb5\x2f\xfd", "zstd", "compress records by the producer's compression.type, not each value"),
    (b"\x04\x22\x4d\x18", "lz4", "compress records by the producer's compression.type, not each value"),
    (b"\x82SNAPPY\x00", "snappy", "compress records by the producer's compression.type, not each value"),
    (b"BZh", "bzip2", "send the value uncompressed"),
    (b"Obj\x01", "an Avro file", _PLAIN_JSON),
    (b"\xc3\x01", "Avro (one object with its schema's fingerprint)", _PLAIN_JSON),
    (b"\xac\xed\x00\x05", "a serialized Java object", "use the StringSerializer or a ByteArraySerializer with JSON"),
    (b"PK\x03\x04", "a zip archive", _PLAIN_JSON),
    (b"<", "XML or HTML", _PLAIN_JSON),
)

_CLOUD_EVENTS = frozenset({"specversion", "type", "source", "id"})
_CHANGE_OPERATIONS = frozenset({"c", "u", "d", "r", "t", "m"})
_DECODE_ERRORS = (msgspec.MsgspecError, ValueError, RecursionError)


def value_hint(value: bytes | str) -> str | None:
    """What a refused value looks like, and what to do about it; `None` for nothing known."""
    data = value.encode("utf-8", "surrogatepass") if isinstance(value, str) else value
    data = data[:_MOST_LOOKED_AT]
    if not data.strip():
        return "it is empty"
    if (text := _other_text(data)) is not None:
        return text
    if data[:1] == b"\x00":
        return _framed(data)
    for mark, name, advice in _MARKS:
        if data.startswith(mark):
            return f"it looks like {name}: {advice}"
    return _json_hint(data) if data.lstrip()[:1] in b'{["' else _binary_hint(data)


def key_hint(key: bytes | None, contact_id: str) -> str | None:
    """What a key looks like that is not its contact's id; `None` for nothing known."""
    if key is None:
        return "the record has no key"
    plain = contact_id.encode()
    if key[:1] == b"\x00" and len(key) > 5 and key.endswith(plain):
        return f"the key is in {_SCHEMA_REGISTRY}: use a string serializer for keys"
    if key in (b'"' + plain + b'"', b"'" + plain + b"'"):
        return "the key is quoted: it is the id alone, no JSON (a StringConverter or StringSerializer for keys)"
    if key.startswith((b"{", b"[")):
        return "the key is JSON: it is the id alone (Kafka Connect: a StringConverter and ExtractField for the key)"
    if key != plain and key.strip() == plain:
        return "the key has spaces or a line break around the id"
    if (_as_number(key) or object()) == contact_id:
        return "the key is the id as a binary number: send it as text"
    if key in (contact_id.encode("utf-16-le"), contact_id.encode("utf-16-be"), contact_id.encode("utf-16")):
        return "the key is in UTF-16: send UTF-8"
    return None


def _as_number(key: bytes) -> str | None:
    return str(int.from_bytes(key, "big", signed=True)) if len(key) in (4, 8) else None


def _other_text(data: bytes) -> str | None:
    """JSON in an encoding other than UTF-8, or with a byte-order mark."""
    if data.startswith(codecs.BOM_UTF8):
        return "it begins with a byte-order mark: send UTF-8 without one"
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or (
        len(data) >= 4 and (data[:2] in (b"{\x00", b'"\x00', b"[\x00") or data[:2] in (b"\x00{", b'\x00"', b"\x00["))
    ):
        return "it is text in UTF-16: send UTF-8"
    return None


def _framed(data: bytes) -> str:
    """The wire format of a schema registry, with what stands in it."""
    body = data[5:]
    binary = "Protobuf" if body[:1] == b"\x00" else "Avro or Protobuf"
    kind = "JSON Schema" if body.lstrip()[:1] == b"{" else binary
    return f"it looks like {kind} in {_SCHEMA_REGISTRY}: use a plain JSON serializer"


def _binary_hint(data: bytes) -> str | None:
    if data[:1] in (b"\x0a", b"\x08", b"\x12") and _is_protobuf(data):
        return f"it looks like Protobuf: {_PLAIN_JSON}"
    if 0x80 <= data[0] <= 0x8F or data[0] in (0xDE, 0xDF):
        return f"it looks like MessagePack: {_PLAIN_JSON}"
    if 0xA0 <= data[0] <= 0xBF:
        return f"it looks like CBOR: {_PLAIN_JSON}"
    if any(byte < 9 for byte in data[:64]):
        return f"it is binary, such as Avro without its schema: {_PLAIN_JSON}"
    try:
        data.decode()
    except UnicodeDecodeError:
        return "it is no UTF-8"
    if re.match(rb"[A-Za-z0-9+/_-]{16,}={0,2}\s*$", data):
        return f"it looks like base64: {_PLAIN_JSON}"
    if re.match(rb"[\w.\-]+=[^&\s]*(&|$)", data):
        return f"it looks like a form: {_PLAIN_JSON}"
    return None


def _is_protobuf(data: bytes) -> bool:
    """Whether the bytes read as fields of Protobuf to their end."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        kind = tag & 7
        if at < 0 or tag >> 3 == 0 or kind in (3, 4, 6, 7):
            return False
        if kind == 0:
            _, at = _varint(data, at)
        elif kind == 2:
            size, at = _varint(data, at)
            at = at + size if at >= 0 else -1
        else:
            at += 8 if kind == 1 else 4
        if at < 0:
            return False
    return at == len(data)


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """A number and where it ends; -1 where it does not."""
    number = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            return 0, -1
        number |= (data[at] & 0x7F) << shift
        at += 1
        if data[at - 1] < 0x80:
            return number, at
    return 0, -1


def _json_hint(data: bytes) -> str | None:
    try:
        content = msgspec.json.decode(data)
    except _DECODE_ERRORS:
        return _lines_hint(data)
    if isinstance(content, list):
        return "it is an array: send one event a record"
    if isinstance(content, str):
        return _text_hint(content)
    return _object_hint(content) if isinstance(content, dict) else None


def _text_hint(text: str) -> str | None:
    try:
        inner = msgspec.json.decode(text)
    except _DECODE_ERRORS:
        return "it is a text in quotes, no object"
    if isinstance(inner, dict):
        return "it is JSON encoded twice, an object in a text: encode it once"
    return "it is a text in quotes, no object"


def _lines_hint(data: bytes) -> str | None:
    """Several objects in one record, or one that was cut off."""
    lines = [line for line in data.splitlines() if line.strip()]
    if len(lines) > 1 and all(_is_object(line) for line in lines[:2]):
        return f"it holds {len(lines)} events, one a line: send one event a record"
    if re.search(rb"\}\s*\{", data[:4096]) and len(lines) == 1:
        return "it seems to hold several objects in a row: send one event a record"
    try:
        data.decode()
    except UnicodeDecodeError as error:
        return "it is no UTF-8" if error.end < _MOST_LOOKED_AT - 4 else None
    return None


def _is_object(line: bytes) -> bool:
    try:
        return isinstance(msgspec.json.decode(line), dict)
    except _DECODE_ERRORS:
        return False


def _object_hint(content: dict[str, object]) -> str | None:
    names = frozenset(content)
    if "specversion" in names and names >= _CLOUD_EVENTS:
        return "it is an envelope of CloudEvents: send what its `data` holds"
    payload = content.get("payload")
    if "schema" in names and "payload" in names:
        if isinstance(payload, dict) and _is_change(payload):
            return "it is a change of Debezium's in Kafka Connect's envelope: make events of changes, and send those"
        return (
            "it is Kafka Connect's envelope of schema and payload: set value.converter.schemas.enable=false, "
            "and send the event alone"
        )
    if _is_change(content):
        return "it is a change of Debezium's (before, after, op): make events of changes, and send those"
    if "Records" in names or ("Type" in names and "TopicArn" in names):
        return "it is an envelope of Amazon's: send what its message holds"
    if isinstance(content.get("message"), dict) and "subscription" in names:
        return "it is an envelope of Google Pub/Sub: send what its message's data holds"
    for name in ("data", "payload", "event", "body", "value", "message"):
        inner = content.get(name)
        if isinstance(inner, dict) and "type" in inner and "occurred_at" in inner:
            return f"the event stands inside `{name}`: send it alone"
    if isinstance(content.get("event"), str) and ("message_type" in names or "contact_inbox" in names):
        return "it is a webhook of Chatwoot: post it to 'mediana ingest', or import it with --format chatwoot"
    return None


def _is_change(content: dict[str, object]) -> bool:
    return content.get("op") in _CHANGE_OPERATIONS and ("after" in content or "before" in content)
