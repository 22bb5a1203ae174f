"""Write the OpenAPI document: FastAPI's, with additions that FastAPI cannot know."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

from gateway.bars.times import PATTERN as TIME_PATTERN
from gateway.rest.inputs import PREFIX_PATTERN, RAW_SYMBOL_PATTERN
from gateway.rest.problems import MEDIA_TYPE

# The aggregator decides which of these intervals it has; there are no live bars of the longest.
INTERVAL_PATTERN = r"^[1-9][0-9]{0,17}[smhdwMytvn]$"
LIVE_INTERVAL_PATTERN = r"^(?:1d|[1-9][0-9]{0,17}[smhtvn])$"

_PROBLEM = {"$ref": "#/components/schemas/ProblemBody"}


def install_openapi(app: FastAPI, *, max_symbols: int) -> None:
    """Make ``app`` describe itself with the additions below."""
    describe = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = describe()
            _name_problems(document)
            _describe_lists(document, max_symbols)
        return describe()

    # FastAPI's documented way to extend the document.
    app.openapi = openapi  # type: ignore[method-assign]


# FastAPI documents every response with the media type of the 200.
def _name_problems(document: dict[str, Any]) -> None:
    for operations in document["paths"].values():
        for operation in operations.values():
            for response in operation["responses"].values():
                content = response.get("content", {})
                if content.get("application/json", {}).get("schema") == _PROBLEM:
                    content[MEDIA_TYPE] = content.pop("application/json")


# FastAPI knows lists as repeated parameters only, and the limit is a setting.
def _describe_lists(document: dict[str, Any], max_symbols: int) -> None:
    for path, pattern in (
        ("/api/v1/marketdata", RAW_SYMBOL_PATTERN),
        ("/api/v1/stream", rf"^ *\* *$|{RAW_SYMBOL_PATTERN}"),
    ):
        symbols = _parameters(document, path)["symbols"]
        symbols["style"], symbols["explode"] = "form", False
        symbols["schema"].update(
            minItems=1, maxItems=max_symbols, items={"type": "string", "pattern": pattern}
        )
    parameters = _parameters(document, "/api/v1/symbols")
    parameters["prefix"]["schema"]["pattern"] = PREFIX_PATTERN
    parameters["cursor"]["schema"]["pattern"] = f"^$|{RAW_SYMBOL_PATTERN}"
    stream = _parameters(document, "/api/v1/stream")
    stream["interval"]["schema"]["pattern"] = f"^$|{LIVE_INTERVAL_PATTERN}"
    stream["since"]["schema"]["pattern"] = f"^$|{TIME_PATTERN}"
    for path in ("/api/v1/marketdata/{symbol}/bars", "/api/v1/bars"):
        parameters = _parameters(document, path)
        parameters["interval"]["schema"]["pattern"] = INTERVAL_PATTERN
        for name in ("from", "to"):
            parameters[name]["schema"]["pattern"] = f"^$|{TIME_PATTERN}"


def _parameters(document: dict[str, Any], path: str) -> dict[str, Any]:
    parameters = document["paths"][path]["get"]["parameters"]
    return {parameter["name"]: parameter for parameter in parameters}
