"""A queue that costs nothing while it is empty."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class Pending(Generic[T]):
    """A deque that exists only while it has items.

    An empty deque takes 760 bytes, most of an idle subscription.
    """

    __slots__ = ("_items",)

    def __init__(self) -> None:
        self._items: deque[T] | None = None

    def __len__(self) -> int:
        return len(self._items) if self._items is not None else 0

    def __bool__(self) -> bool:
        return self._items is not None

    def __iter__(self) -> Iterator[T]:
        return iter(self._items or ())

    @property
    def first(self) -> T:
        """The oldest item; the queue must not be empty."""
        if self._items is None:
            raise IndexError("the queue is empty")
        return self._items[0]

    def append(self, item: T) -> None:
        """Add ``item`` at the end."""
        if self._items is None:
            self._items = deque((item,))
        else:
            self._items.append(item)

    def extend(self, items: Iterable[T]) -> None:
        """Add ``items`` at the end."""
        for item in items:
            self.append(item)

    def popleft(self) -> T:
        """Remove and return the oldest item; the queue must not be empty."""
        if self._items is None:
            raise IndexError("the queue is empty")
        item = self._items.popleft()
        if not self._items:
            self._items = None
        return item

    def clear(self) -> None:
        """Remove all items."""
        self._items = None
