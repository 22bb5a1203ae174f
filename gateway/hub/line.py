"""A queue that costs nothing while it is empty."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class Line(Generic[T]):
    """A deque that is there only while something stands in it.

    An empty one has 760 bytes, which would be most of an idle subscription.
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
        """What stands in front; there is something."""
        if self._items is None:
            raise IndexError("nobody stands in line")
        return self._items[0]

    def append(self, item: T) -> None:
        """Let ``item`` stand at the end."""
        if self._items is None:
            self._items = deque((item,))
        else:
            self._items.append(item)

    def extend(self, items: Iterable[T]) -> None:
        """Let ``items`` stand at the end."""
        for item in items:
            self.append(item)

    def popleft(self) -> T:
        """Return what stands in front, and move on; there is something."""
        if self._items is None:
            raise IndexError("nobody stands in line")
        item = self._items.popleft()
        if not self._items:
            self._items = None
        return item

    def clear(self) -> None:
        """Send everyone away."""
        self._items = None
