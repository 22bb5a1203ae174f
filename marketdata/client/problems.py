"""Which error an answer or the end of a stream is: one table for each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from marketdata.client.errors import (
    AccessRefused,
    AggregatorUnavailable,
    ClientError,
    FieldProblem,
    GatewayError,
    HistoryTooLong,
    InternalError,
    InvalidInput,
    NotFound,
    RateLimited,
    TooManyClients,
    TooManySymbols,
    UnexpectedAnswer,
    UnknownSymbol,
)

PROBLEM_JSON = "application/problem+json"
_URN = "urn:market-data:"

# By type, or by status where the type is about:blank.
_BY_TYPE: Mapping[str, type[GatewayError]] = {
    f"{_URN}unknown-symbol": UnknownSymbol,
    f"{_URN}invalid-input": InvalidInput,
    f"{_URN}origin-refused": AccessRefused,
    f"{_URN}rate-limited": RateLimited,
    f"{_URN}too-many-clients": TooManyClients,
    f"{_URN}aggregator-unavailable": AggregatorUnavailable,
}
_BY_STATUS: Mapping[int, type[GatewayError]] = {404: NotFound, 500: InternalError}

# The codes of a stream's last message, see docs/protocols/websocket.md.
_BY_CODE: Mapping[str, type[GatewayError]] = {
    "invalid_input": InvalidInput,
    "invalid_interval": InvalidInput,
    "rate_limited": RateLimited,
    "too_many_subscriptions": TooManySymbols,
    "too_many_symbols": TooManySymbols,
    "history_too_long": HistoryTooLong,
    "history_failed": AggregatorUnavailable,
}

# Statuses of answers that another attempt may change; those of a proxy too.
_PASSING = {429, 502, 503, 504}
_DEFAULT_RETRY_AFTER_S = 1.0
_FIRST_BACKOFF_S, _MAX_BACKOFF_S = 0.25, 2.0
# Connections that fail are tried so often in all: long enough for a gateway that restarts, short
# enough for a person who mistyped the address.
_MAX_CONNECTS = 4
_SHOWN_CHARACTERS = 120


def error_of(
    url: str, status: int, headers: Mapping[str, str], body: bytes
) -> GatewayError | UnexpectedAnswer:
    """Return the error for an answer other than 200; header names are in lower case."""
    retry_after_s = _retry_after(status, headers)
    problem = _problem(headers, body)
    if problem is None:
        said = " ".join(body.decode("utf-8", "replace").split())[:_SHOWN_CHARACTERS]
        if status == 403:
            return AccessRefused(said or f"{url} refuses access", status=status)
        return UnexpectedAnswer(url, status, said or "an empty body", retry_after_s)
    kind = str(problem.get("type", "about:blank"))
    errors = problem.get("errors")
    return _BY_TYPE.get(kind, _BY_STATUS.get(status, GatewayError))(
        str(problem.get("detail") or problem.get("title") or status),
        status=status,
        type=kind,
        retry_after_s=retry_after_s,
        errors=[
            FieldProblem(str(each.get("field")), str(each.get("detail")))
            for each in (errors if isinstance(errors, list) else [])
            if isinstance(each, dict)
        ],
    )


def stream_error(code: str, message: str) -> GatewayError:
    """Return the error that the last message of a stream is."""
    return _BY_CODE.get(code, GatewayError)(message, type=code)


def retry_delay(error: ClientError, attempt: int) -> float | None:
    """Return how long to wait before the next attempt after ``attempt`` (1, 2, ...) failed.

    None: another attempt would not help.
    """
    if isinstance(error, GatewayError | UnexpectedAnswer):
        return error.retry_after_s
    if attempt >= _MAX_CONNECTS:
        return None
    return min(_MAX_BACKOFF_S, _FIRST_BACKOFF_S * 2.0 ** (attempt - 1))


def _retry_after(status: int, headers: Mapping[str, str]) -> float | None:
    if status not in _PASSING:
        return None
    try:
        # A proxy may send a date instead; then the default will do.
        seconds = float(headers.get("retry-after", ""))
    except ValueError:
        return _DEFAULT_RETRY_AFTER_S
    return seconds if 0 <= seconds < float("inf") else _DEFAULT_RETRY_AFTER_S


def _problem(headers: Mapping[str, str], body: bytes) -> dict[str, Any] | None:
    if headers.get("content-type", "").partition(";")[0].strip() != PROBLEM_JSON:
        return None
    try:
        problem = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    return problem if isinstance(problem, dict) else None
