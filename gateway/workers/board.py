"""What the workers count together, in memory that they share.

Each worker's live clients, so that there are no more of all together than there may be, and the
buckets of the rate limit. It is a page or more of memory without a name; the parent makes it and
its workers inherit it.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import secrets
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b

from gateway.workers.rates import pour

# A token that is this board's, how many workers and how many sets of buckets.
_HEADER = struct.Struct("=16sII")
_COUNT = struct.Struct("=Q")
# Whose it is, and when it will be empty.
_BUCKET = struct.Struct("=Qd")
# A caller's bucket is in the set that its key says, in any place of it.
_WAYS = 8
_SET_BYTES = _WAYS * _BUCKET.size
# What is done with the lock takes 3 us, or as long as a busy machine lets its process wait. One
# that was stopped just then must not stop the others: after this they go on without the lock, and
# a request may be counted wrong; then they do not wait for a while.
_LOCK_WAIT_S = 0.05
_LOCK_PAUSE_S = 50e-6
_IMPATIENCE_S = 5.0


class Board:
    """Counts that are right among all workers."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._memory = mmap.mmap(descriptor, os.fstat(descriptor).st_size)
        self.token, self.workers, self._sets = _HEADER.unpack_from(self._memory)
        self._buckets = _HEADER.size + self.workers * _COUNT.size
        self._impatient_until = 0.0

    @classmethod
    def create(cls, workers: int, callers: int) -> Board:
        """Return a new one, for so many workers, that remembers so many callers."""
        sets = -(-callers // _WAYS)
        size = _HEADER.size + workers * _COUNT.size + sets * _SET_BYTES
        descriptor = os.memfd_create("marketdata-gateway")
        os.ftruncate(descriptor, size)
        os.pwrite(descriptor, _HEADER.pack(secrets.token_bytes(16), workers, sets), 0)
        return cls(descriptor)

    def close(self) -> None:
        """Let go of the memory."""
        self._memory.close()
        os.close(self.descriptor)

    # Clients

    def try_enter(self, worker: int, limit: int) -> bool:
        """Count one more client of ``worker``, unless there are ``limit`` of all workers."""
        with self._locked(0):
            at = _HEADER.size
            counts = struct.unpack_from(f"={self.workers}Q", self._memory, at)
            if sum(counts) >= limit:
                return False
            _COUNT.pack_into(self._memory, at + worker * _COUNT.size, counts[worker] + 1)
            return True

    def set_clients(self, worker: int, count: int) -> None:
        """Say how many clients ``worker`` has."""
        # Nobody else writes this number, and to write it takes one instruction.
        _COUNT.pack_into(self._memory, _HEADER.size + worker * _COUNT.size, count)

    # The rate limit

    def take(self, caller: str, rate: float, now: float) -> bool:
        """Count one request of ``caller``, unless it is over ``rate``."""
        digest = blake2b(caller.encode(), digest_size=8, key=self.token).digest()
        # 0 is a place that is free.
        key = int.from_bytes(digest, "little") or 1
        offset = self._buckets + key % self._sets * _SET_BYTES
        with self._locked(offset):
            buckets = list(_BUCKET.iter_unpack(self._memory[offset : offset + _SET_BYTES]))
            place = next((i for i, bucket in enumerate(buckets) if bucket[0] == key), None)
            empty_at = 0.0 if place is None else buckets[place][1]
            after = pour(empty_at, now, rate)
            if after is None:
                return False
            if place is None:
                # The one that is empty first is of who was silent for longest, or of nobody.
                place = min(range(_WAYS), key=lambda i: buckets[i][1])
            _BUCKET.pack_into(self._memory, offset + place * _BUCKET.size, key, after)
            return True

    @contextmanager
    def _locked(self, offset: int) -> Iterator[None]:
        # The kernel takes it from a process that dies.
        held = self._lock(offset)
        try:
            yield
        finally:
            if held:
                fcntl.lockf(self.descriptor, fcntl.LOCK_UN, 1, offset)

    def _lock(self, offset: int) -> bool:
        until = None
        while True:
            try:
                fcntl.lockf(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, offset)
            except OSError:
                now = time.monotonic()
                until = until or now + _LOCK_WAIT_S
                if now < self._impatient_until:
                    return False
                if now >= until:
                    self._impatient_until = now + _IMPATIENCE_S
                    return False
                # Longer than the lock is held, and the one that has it may need this processor.
                time.sleep(_LOCK_PAUSE_S)
            else:
                return True
