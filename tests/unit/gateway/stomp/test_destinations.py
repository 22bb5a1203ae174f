"""What destinations mean, and what our own headers of a SUBSCRIBE ask for."""

from __future__ import annotations

import pytest

from gateway.stomp.protocol.destinations import (
    BarsTopic,
    MarketDataTopic,
    Policy,
    Resume,
    SignalingTopic,
    StatusTopic,
    SubscribeOptions,
    Topic,
    check_send_destination,
    market_data_destination,
    parse_options,
    parse_topic,
)
from gateway.stomp.protocol.errors import (
    InvalidDestination,
    InvalidOption,
    SendForbidden,
    UnknownDestination,
)

AAPL = MarketDataTopic(("AAPL",))
TWO = MarketDataTopic(("AAPL", "MSFT"))
ALL = MarketDataTopic(None)


@pytest.mark.parametrize(
    ("destination", "topic"),
    [
        ("/topic/market-data/AAPL", AAPL),
        ("/topic/market-data/ AAPL ", AAPL),
        ("/topic/market-data/AAPL,MSFT", TWO),
        ("/topic/market-data/AAPL, MSFT,AAPL", TWO),
        ("/topic/market-data/EUR/USD", MarketDataTopic(("EUR/USD",))),
        ("/topic/market-data/AMpB,AMPB", MarketDataTopic(("AMpB", "AMPB"))),
        # A destination is not an address: nothing in it is percent-encoded.
        ("/topic/market-data/A%2FB", MarketDataTopic(("A%2FB",))),
        ("/topic/market-data//ES", MarketDataTopic(("/ES",))),
        ("/topic/market-data/#VIX?", MarketDataTopic(("#VIX?",))),
        (
            "/topic/market-data/AAPL  251219C00150000",
            MarketDataTopic(("AAPL  251219C00150000",)),
        ),
        ("/topic/bars/1m//ES 12-25", BarsTopic("1m", ("/ES 12-25",))),
        ("/topic/market-data/*", ALL),
        ("/topic/market-data/**", ALL),
        ("/topic/market-data/AAPL,*", ALL),
        ("/topic/signaling", SignalingTopic()),
        ("/topic/status", StatusTopic()),
    ],
)
def test_a_topic_is_one_symbol_a_list_a_pattern_signaling_or_status(
    destination: str, topic: Topic
) -> None:
    assert parse_topic(destination) == topic


def test_a_symbol_is_published_where_a_subscription_to_it_looks() -> None:
    assert parse_topic(market_data_destination("EUR/USD")) == MarketDataTopic(("EUR/USD",))


@pytest.mark.parametrize("last_part", ["", 'A"', "AAPL,", ",", "A*", "é", "A" * 65])
def test_a_market_data_destination_with_a_bad_symbol_is_an_error(last_part: str) -> None:
    with pytest.raises(InvalidDestination):
        parse_topic(f"/topic/market-data/{last_part}")


@pytest.mark.parametrize(
    "destination",
    ["", "/", "/topic", "/topic/market-data", "/topic/signaling/", "/queue/a", "/app/signal", "*"],
)
def test_a_subscribe_elsewhere_is_an_error(destination: str) -> None:
    with pytest.raises(UnknownDestination):
        parse_topic(destination)


def test_a_send_goes_to_app_signal_only() -> None:
    check_send_destination("/app/signal")
    for topic in ("/topic/market-data/AAPL", "/topic/signaling", "/topic/anything"):
        with pytest.raises(SendForbidden):
            check_send_destination(topic)
    for unknown in ("", "/app", "/app/", "/app/other", "/queue/a", "/APP/signal"):
        with pytest.raises(UnknownDestination):
            check_send_destination(unknown)


def test_without_our_headers_a_subscription_conflates_and_starts_afresh() -> None:
    assert parse_options(AAPL, {"id": "0"}) == SubscribeOptions(Policy.CONFLATE, None)


@pytest.mark.parametrize("policy", Policy)
def test_a_policy_is_conflate_or_buffer(policy: Policy) -> None:
    assert parse_options(AAPL, {"policy": policy.value}).policy is policy


@pytest.mark.parametrize(
    ("topic", "last_sequence", "sequences"),
    [
        (AAPL, "0", {"AAPL": 0}),
        (AAPL, "18446744073709551615", {"AAPL": 2**64 - 1}),
        (AAPL, " AAPL :41", {"AAPL": 41}),
        (TWO, "AAPL:41,MSFT:7", {"AAPL": 41, "MSFT": 7}),
        (TWO, "MSFT:7", {"MSFT": 7}),
        (ALL, "AAPL:41, EUR/USD:7", {"AAPL": 41, "EUR/USD": 7}),
        (MarketDataTopic(("BTC:USD",)), "BTC:USD:5", {"BTC:USD": 5}),
    ],
)
def test_a_resume_says_the_last_sequence_of_each_symbol_and_the_epoch(
    topic: Topic, last_sequence: str, sequences: dict[str, int]
) -> None:
    options = parse_options(topic, {"last-sequence": last_sequence, "epoch": "9"})
    assert options.resume == Resume(9, sequences)


@pytest.mark.parametrize(
    ("topic", "headers", "name"),
    [
        (AAPL, {"policy": ""}, "policy"),
        (AAPL, {"policy": "Buffer"}, "policy"),
        (AAPL, {"last-sequence": "5"}, "last-sequence"),
        (AAPL, {"epoch": "5"}, "epoch"),
        (AAPL, {"last-sequence": "5", "epoch": "x"}, "epoch"),
        (AAPL, {"last-sequence": "5", "epoch": "-1"}, "epoch"),
        (AAPL, {"last-sequence": "", "epoch": "5"}, "last-sequence"),
        (AAPL, {"last-sequence": "-5", "epoch": "5"}, "last-sequence"),
        (AAPL, {"last-sequence": "٣", "epoch": "5"}, "last-sequence"),
        (AAPL, {"last-sequence": "9" * 5000, "epoch": "5"}, "last-sequence"),
        (AAPL, {"last-sequence": "18446744073709551616", "epoch": "5"}, "last-sequence"),
        (AAPL, {"last-sequence": "MSFT:5", "epoch": "5"}, "last-sequence"),
        (TWO, {"last-sequence": "5", "epoch": "5"}, "last-sequence"),
        (TWO, {"last-sequence": "AAPL:5,", "epoch": "5"}, "last-sequence"),
        (TWO, {"last-sequence": "AAPL:5,AAPL:6", "epoch": "5"}, "last-sequence"),
        (ALL, {"last-sequence": "5", "epoch": "5"}, "last-sequence"),
        (ALL, {"last-sequence": "A*:5", "epoch": "5"}, "last-sequence"),
        (ALL, {"last-sequence": ":5", "epoch": "5"}, "last-sequence"),
        (StatusTopic(), {"last-sequence": "5", "epoch": "5"}, "last-sequence"),
    ],
)
def test_a_value_that_cannot_be_used_is_an_error_that_names_the_header(
    topic: Topic, headers: dict[str, str], name: str
) -> None:
    with pytest.raises(InvalidOption) as caught:
        parse_options(topic, headers)
    assert caught.value.name == name
    assert str(caught.value).startswith(f"header {name} is ")
