"""The JSON messages of a stream: parse a client's, encode the server's."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, TypeAdapter, ValidationError

from gateway.clients.farewell import SERVER_SHUTDOWN, Farewell
from gateway.encoding import INTERVAL_COMPLETE, encode_json
from gateway.errors import FieldError, InvalidInput
from gateway.hub.subscription import Resume
from gateway.hub.updates import Delivery, FeedStatus, Policy, Update
from gateway.rest.inputs import parse_symbols
from gateway.stream.errors import ENDINGS, MalformedMessage
from marketdata.errors import InvalidSymbol, MarketDataError
from marketdata.symbols import normalize_symbol

# An id is sent with every update.
MAX_ID_LENGTH = 64
# An error message is short, however long the message that it is about.
MAX_ERROR_LENGTH = 300
ALL = "*"
# 64 bits, as strings: JavaScript's numbers end at 2**53.
DIGITS = r"^[0-9]{1,20}$"

_RECOVERED = {None: b"null", True: b"true", False: b"false"}

Id = Annotated[str, StringConstraints(min_length=1, max_length=MAX_ID_LENGTH)]
Digits = Annotated[str, StringConstraints(pattern=DIGITS)]


class _Message(BaseModel):
    # A field we do not know could change what the message means.
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class ResumeFields(_Message):
    """Where the client left off."""

    epoch: Digits
    sequences: dict[str, Digits]


class Subscribe(_Message):
    """Begin to send the states of symbols."""

    type: Literal["subscribe"] = "subscribe"
    id: Id
    symbols: list[str]
    policy: Policy = "conflate"
    resume: ResumeFields | None = None
    # Of bars: their interval, and where their history begins.
    interval: str | None = None
    since: str | None = None


class Unsubscribe(_Message):
    """End a subscription."""

    type: Literal["unsubscribe"] = "unsubscribe"
    id: Id


class Ping(_Message):
    """Ask for a pong, which has the server's time."""

    type: Literal["ping"] = "ping"


ClientMessage = Subscribe | Unsubscribe | Ping
_CLIENT_MESSAGE: TypeAdapter[ClientMessage] = TypeAdapter(
    Annotated[ClientMessage, Field(discriminator="type")]
)


def parse_message(text: str) -> ClientMessage:
    """Return the message that a client sent.

    Raises:
        MalformedMessage: a client must not send it.
    """
    try:
        return _CLIENT_MESSAGE.validate_json(text)
    except ValidationError as exc:
        error = exc.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(map(str, error["loc"]))
        message = f"{where}: {error['msg']}" if where else error["msg"]
        raise MalformedMessage(message[:MAX_ERROR_LENGTH]) from exc


def parse_wanted(field: str, lists: Iterable[str], limit: int) -> list[str] | None:
    """Return the symbols of comma-separated ``lists``, each once; None: ``*`` is among them.

    Raises:
        InvalidInput: there are more than ``limit``, none, or one is not a symbol.
    """
    parts = [part for text in lists for part in text.split(",")]
    if not parts:
        raise InvalidInput([FieldError(field, "names no symbol")])
    named = [part for part in parts if part.strip() != ALL]
    symbols = parse_symbols(field, named, limit)
    return symbols if len(named) == len(parts) else None


def parse_resume(fields: ResumeFields, limit: int) -> Resume:
    """Return where the client left off.

    Raises:
        InvalidInput: it names more than ``limit`` symbols, or an invalid one.
    """
    sequences = fields.sequences
    if len(sequences) > limit:
        problem = f"{len(sequences)} symbols, limit is {limit}"
        raise InvalidInput([FieldError("resume.sequences", problem)])
    try:
        last = {normalize_symbol(raw): int(digits) for raw, digits in sequences.items()}
    except InvalidSymbol as exc:
        raise InvalidInput([FieldError("resume.sequences", str(exc))]) from exc
    return Resume(int(fields.epoch), last)


def encode_subscribed(subscribe: Subscribe, symbols: list[str] | None) -> bytes:
    """Return the answer to a subscribe, with its symbols in normal form."""
    named = [ALL] if symbols is None else symbols
    of_bars = {"interval": subscribe.interval} if subscribe.interval else {}
    return _encode(
        type="subscribed", id=subscribe.id, symbols=named, policy=subscribe.policy, **of_bars
    )


def encode_unsubscribed(subscription_id: str) -> bytes:
    """Return the answer to an unsubscribe."""
    return _encode(type="unsubscribed", id=subscription_id)


def encode_pong(received_ns: int, sent_ns: int) -> bytes:
    """Return the answer to a ping. It tells a client how far its clock is from ours."""
    return _encode(type="pong", receivedNs=str(received_ns), sentNs=str(sent_ns))


def encode_status(status: FeedStatus) -> bytes:
    """Return the message of the feed's status."""
    return _encode(type="status", status=str(status))


def encode_farewell(farewell: Farewell) -> bytes:
    """Return the last message before the gateway stops."""
    return _encode(
        type="status",
        status=SERVER_SHUTDOWN,
        reconnectAfterMs=farewell.reconnect_after_ms,
    )


def encode_error(error: MarketDataError, subscription_id: str | None = None) -> bytes:
    """Return the last message before a stream ends because of ``error``."""
    message = str(error)[:MAX_ERROR_LENGTH]
    return _encode(
        type="error", id=subscription_id, code=ENDINGS[type(error)].code, message=message
    )


def update_head(subscription_id: str | None = None) -> bytes:
    """Return how each update of a subscription begins."""
    head = b'{"type":"update"'
    return b'%b,"id":%b' % (head, encode_json(subscription_id)) if subscription_id else head


def marker_head(subscription_id: str | None = None) -> bytes:
    """Return how each marker of a completed interval begins."""
    head = b'{"type":"%b"' % INTERVAL_COMPLETE.encode()
    return b'%b,"id":%b' % (head, encode_json(subscription_id)) if subscription_id else head


def encode_marker(head: bytes, update: Update) -> bytes:
    """Return the message that an interval is complete."""
    return head + update.form(_marker_tail)


def encode_update(head: bytes, delivery: Delivery, *, recovered: bool | None) -> bytes:
    """Return one update; the part that all clients share is encoded once."""
    return b'%b,"recovered":%b,"conflated":%d%b' % (
        head,
        _RECOVERED[recovered],
        delivery.conflated,
        delivery.update.form(_update_tail),
    )


def _update_tail(update: Update) -> bytes:
    return b',"sequence":"%d","epoch":"%d","data":%b}' % (
        update.sequence,
        update.epoch,
        update.json,
    )


def _marker_tail(update: Update) -> bytes:
    # Without the brace and the type, which stand before the id.
    return b"," + update.json.partition(b",")[2]


def _encode(**message: object) -> bytes:
    return encode_json(message)
