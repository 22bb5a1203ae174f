"""Trades in the JSON messages of any WebSocket."""

from __future__ import annotations

import asyncio
import json
from random import Random

from websockets.asyncio.client import connect
from websockets.exceptions import InvalidURI, WebSocketException

from connect.errors import OutletFull, SourceFailed
from connect.outlet import Outlet
from connect.records import Records
from connect.settings import ConnectSettings
from connect.states import States

FIRST_BACKOFF_S = 0.5
MAX_BACKOFF_S = 30.0
# A message with a snapshot may be large.
MAX_MESSAGE = 10 * 1024 * 1024


class WebSocketSource:
    """The trades of one WebSocket.

    Args:
        address: its URL.
        settings: the settings.
        outlet: takes the trades.
        states: says what happens.

    Raises:
        SourceFailed: the fields are not named as they should be.
    """

    def __init__(
        self, address: str, settings: ConnectSettings, outlet: Outlet, states: States
    ) -> None:
        self._address = address
        self._subscribe = settings.subscribe
        self._outlet = outlet
        self._states = states
        self._records = Records(settings, states)
        self._random = Random()  # noqa: S311  jitter
        self._messages = 0

    @property
    def dropped(self) -> int:
        """How many records were no valid trades."""
        return self._records.bad

    async def run(self) -> None:
        """Run until cancelled.

        Raises:
            SourceFailed: the address is none.
        """
        backoff_s = FIRST_BACKOFF_S
        while True:
            self._states.enter("connecting", self._address)
            before = self._messages
            try:
                await self._hold_connection()
            except InvalidURI as exc:
                raise SourceFailed(str(exc)) from exc
            except (OSError, WebSocketException, OutletFull) as exc:
                text = " ".join(str(exc).split())
                self._states.enter("lost", f"{text[:200]}; what is missed meanwhile is not filled")
            if self._messages > before:
                backoff_s = FIRST_BACKOFF_S
            await self._outlet.drained()
            await asyncio.sleep(backoff_s * self._random.uniform(0.5, 1.0))
            backoff_s = min(2 * backoff_s, MAX_BACKOFF_S)

    async def _hold_connection(self) -> None:
        async with connect(self._address, max_size=MAX_MESSAGE) as socket:
            if self._subscribe:
                await socket.send(self._subscribe)
            self._states.enter("live", self._address)
            while True:
                self._take(await socket.recv())

    def _take(self, text: str | bytes) -> None:
        self._messages += 1
        place = f"message {self._messages}"
        try:
            # Numbers stay text, so that no digit is lost.
            message = json.loads(text, parse_float=str)
        except (ValueError, RecursionError):
            self._records.note_bad(f"{place}: it is not JSON: {text!r:.80}")
            return
        for trade in self._records.trades(message, place):
            self._outlet.put_nowait(trade)
