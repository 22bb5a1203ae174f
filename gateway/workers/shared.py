"""The limits of one gateway, counted over all its workers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from gateway.clients.capacity import Capacity
from gateway.errors import RateLimited
from gateway.workers.board import Board


class SharedCapacity(Capacity):
    """How many live clients there may be, of all workers together."""

    def __init__(self, limit: int, board: Board, worker: int) -> None:
        super().__init__(limit)
        self._board = board
        self._worker = worker
        # Of the one that had this number before.
        board.set_clients(worker, 0)

    def try_enter(self) -> bool:
        """Count one more client, unless there are as many as there may be."""
        if not super().try_enter():
            return False
        if self._board.try_enter(self._worker, self.limit):
            return True
        super().leave()
        return False

    def leave(self) -> None:
        """Count one client less."""
        super().leave()
        self._board.set_clients(self._worker, self.count)


class SharedRateLimits:
    """Count requests as :class:`~gateway.backend.limits.RateLimits`, those of all workers."""

    def __init__(
        self,
        rate: float,
        *,
        scope: Literal["global", "client"],
        board: Board,
        clock: Callable[[], float],
    ) -> None:
        self._rate = rate
        self._scope = scope
        self._board = board
        self._clock = clock

    async def take(self, caller: str) -> None:
        """Count one request of ``caller``.

        Raises:
            RateLimited: it is over the limit.
        """
        if self._rate == 0:
            return
        if not self._board.take(
            "" if self._scope == "global" else caller, self._rate, self._clock()
        ):
            raise RateLimited(self._rate, retry_after_s=1 / self._rate)
