"""What a document may ask for, at both sides of each limit."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.encoding import AGGREGATE_KEYS
from gateway.graphql.documents import MAX_REPEATS, DocumentLimits, Documents
from gateway.graphql.errors import RequestErrors, format_request_errors
from gateway.graphql.schema import build_schema
from gateway.settings import GatewaySettings

SCHEMA = build_schema()


def check(
    text: str,
    operation_name: str | None = None,
    *,
    max_depth: int = 10,
    max_aliases: int = 100,
    max_tokens: int = 2000,
) -> str:
    documents = Documents(SCHEMA, DocumentLimits(max_depth, max_aliases, max_tokens))
    document = documents.parse(text, operation_name)
    documents.validate(document)
    return document.kind


def refusal(text: str, operation_name: str | None = None, **limits: int) -> str:
    with pytest.raises(RequestErrors) as caught:
        check(text, operation_name, **limits)
    first = format_request_errors(caught.value)[0]
    return f"{first['extensions']['code']}: {first['message']}"


def aliased(count: int, fields: str = "symbol") -> str:
    return "{" + "".join(f'a{n}: marketData(symbol: "S{n}") {{ {fields} }} ' for n in range(count))


def test_50_aliases_with_every_field_pass_the_default_limits() -> None:
    settings = GatewaySettings()
    kind = check(
        aliased(50, " ".join(AGGREGATE_KEYS)) + "}",
        max_depth=settings.graphql_max_depth,
        max_aliases=settings.graphql_max_aliases,
        max_tokens=settings.graphql_max_tokens,
    )
    assert kind == "query"


def test_aliases_are_limited() -> None:
    assert check(aliased(3) + "}", max_aliases=3)
    assert refusal(aliased(4) + "}", max_aliases=3) == (
        "GRAPHQL_VALIDATION_FAILED: 4 aliases found. Allowed: 3"
    )


def test_depth_is_limited() -> None:
    text = "{ ...f } fragment f on Query { symbols { ... { symbols } } }"
    assert check(text, max_depth=1)
    assert "exceeds maximum operation depth of 0" in refusal(text, max_depth=0)


def test_tokens_are_limited() -> None:
    # { __typename } and the end are three, and the end does not count.
    assert check("{ __typename }", max_tokens=3)
    assert refusal("{ __typename }", max_tokens=2) == (
        "GRAPHQL_PARSE_FAILED: Syntax Error: Document contains more than 2 tokens. Parsing aborted."
    )


def test_a_field_is_repeated_only_so_often_in_one_place() -> None:
    assert check("{" + "__typename " * MAX_REPEATS + "}")
    expected = (
        f"GRAPHQL_VALIDATION_FAILED: '__typename' is selected more than {MAX_REPEATS} times "
        "in one place."
    )
    assert refusal("{" + "__typename " * (MAX_REPEATS + 1) + "}") == expected
    assert refusal("{" + "... { __typename } " * (MAX_REPEATS + 1) + "}") == expected
    assert "'...f' is selected" in refusal(
        "{" + "...f " * (MAX_REPEATS + 1) + "} fragment f on Query { __typename }"
    )


def test_fragments_that_double_with_every_step_are_refused_at_once() -> None:
    steps = "".join(f"fragment f{n} on Query {{ ...f{n + 1} ...f{n + 1} }} " for n in range(60))
    text = "{ ...f0 } " + steps + "fragment f60 on Query { __typename }"
    assert "The fragments written out are 1152921504606846976 selections" in refusal(text)


def test_what_nests_deeper_than_the_interpreter_is_refused() -> None:
    assert "nested too deeply" in refusal("{a" * 600 + "}" * 600)


@pytest.mark.parametrize(
    ("text", "name", "code"),
    [
        ("{", None, "GRAPHQL_PARSE_FAILED"),
        ("{ nope }", None, "GRAPHQL_VALIDATION_FAILED"),
        ("{ }", None, "GRAPHQL_VALIDATION_FAILED"),
        ("query { ... { } }", None, "GRAPHQL_VALIDATION_FAILED"),
        ('{ marketData(symbol: "A") { } }', None, "GRAPHQL_VALIDATION_FAILED"),
        ("{ __typename } fragment f on Query { }", None, "GRAPHQL_VALIDATION_FAILED"),
        ("{ ...nope }", None, "GRAPHQL_VALIDATION_FAILED"),
        (
            "{ ...a } fragment a on Query { ...b } fragment b on Query { ...a }",
            None,
            "GRAPHQL_VALIDATION_FAILED",
        ),
        ("fragment f on Query { __typename }", None, "GRAPHQL_VALIDATION_FAILED"),
        ("type T { a: Int }", None, "GRAPHQL_VALIDATION_FAILED"),
        ("query A { __typename } query B { __typename }", None, "BAD_USER_INPUT"),
        ("query A { __typename }", "B", "BAD_USER_INPUT"),
        ("mutation { a }", None, "GRAPHQL_VALIDATION_FAILED"),
    ],
)
def test_what_cannot_be_run_is_told_by_a_code(text: str, name: str | None, code: str) -> None:
    assert refusal(text, name).startswith(f"{code}: ")


def test_the_named_operation_is_run() -> None:
    text = 'query A { __typename } subscription B { marketData(symbols: ["A"]) { symbol } }'
    assert (check(text, "A"), check(text, "B")) == ("query", "subscription")


def test_introspection_can_be_switched_off_with_all_that_tells_names() -> None:
    documents = Documents(SCHEMA, DocumentLimits(10, 100, 2000, introspection=False))
    documents.validate(documents.parse("{ __typename }", None))
    for text in ["{ __schema { types { name } } }", "{ marketDat }"]:
        with pytest.raises(RequestErrors) as caught:
            documents.validate(documents.parse(text, None))
        assert "Did you mean" not in str(caught.value)


def test_a_document_that_comes_again_is_not_validated_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    documents = Documents(SCHEMA, DocumentLimits(10, 100, 2000))
    documents.validate(documents.parse("{ __typename }", None))
    monkeypatch.setattr("gateway.graphql.documents.validate", None)
    monkeypatch.setattr("gateway.graphql.documents.parse", None)
    documents.validate(documents.parse("{ __typename }", None))


def test_a_document_that_was_refused_is_refused_again() -> None:
    documents = Documents(SCHEMA, DocumentLimits(10, 100, 2000))
    for _ in range(2):
        with pytest.raises(RequestErrors):
            documents.validate(documents.parse("{ nope }", None))


PUNCTUATION = ["{", "}", "(", ")", "[", "]", ":", "!", "$", "=", "...", "@", "|", "&", '"', "#"]
NAMES = [*"fg", "query", "mutation", "subscription", "fragment", "on", "Query", "Aggregate"]
FIELD_NAMES = ["marketData", "marketDataList", "symbols", "symbol", "close", "__typename"]
VALUES = ['"A"', '"""', "1", "-1.5e9", "null", "true", "CONFLATE"]
PHRASES = [
    "{ symbol }",
    "$v: String!",
    'marketData(symbol: "A") { symbol }',
    "fragment f on Query",
    "fragment g on Aggregate",
    "...f",
    "@skip(if: true)",
    "__schema { types { name } }",
    "\n",
]
words = st.sampled_from([*PUNCTUATION, *NAMES, *FIELD_NAMES, *VALUES, *PHRASES])
texts = st.lists(words | st.text(max_size=3), max_size=40)


@given(texts.map(" ".join))
def test_whatever_comes_is_a_document_or_refused_as_documented(text: str) -> None:
    with contextlib.suppress(RequestErrors):
        check(text)
