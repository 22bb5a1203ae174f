"""Whatever is done to a log in files, it has the same records as a list."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aggregator.ticklog.file_log import FileLog
from aggregator.ticklog.log import Checkpoint, Kind
from aggregator.ticklog.readonly import open_readonly
from aggregator.ticklog.segment import list_segments
from tests.doubles.logs import Acks, options

# Sizes around the bounds of a segment, and small ones.
SIZES = st.sampled_from([0, 1, 50, 300, 900, 1000, 1100, 3000])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.lists(SIZES, max_size=12)),
        st.tuples(st.just("open again"), st.just([])),
        st.tuples(st.just("tear"), st.lists(SIZES, min_size=1, max_size=1)),
        st.tuples(st.just("truncate"), st.lists(st.integers(0, 99), min_size=1, max_size=1)),
        st.tuples(st.just("checkpoint"), st.lists(st.integers(0, 99), min_size=1, max_size=1)),
    ),
    max_size=15,
)


class Model:
    """A log in files beside a list of what it must have."""

    def __init__(self, directory: Path, segment_bytes: int) -> None:
        self._directory = directory
        self._options = options("never", segment_bytes=segment_bytes, max_bytes=0)
        self.given: list[bytes] = []
        self.checkpoints: list[int] = []
        self.first = 0
        self.log = self._open()

    def _open(self) -> FileLog:
        return FileLog(self._directory, self._options)

    async def step(self, name: str, values: list[int]) -> None:
        if name == "append":
            acks = Acks()
            payloads = [bytes([len(self.given) % 256]) * size for size in values]
            for payload in payloads:
                self.log.append(Kind.BATCH, len(self.given), payload, acks)
                self.given.append(payload)
            await acks.wait_for(len(values))
        elif name == "truncate":
            before = len(self.given) * values[0] // 99
            self.log.truncate(before)
            assert self.log.first_offset <= max(before, self.first)
            self.first = self.log.first_offset
        elif name == "checkpoint":
            offset = len(self.given) * values[0] // 99
            self.log.save_checkpoint(Checkpoint(offset, 1), [b"state"])
            self.checkpoints = sorted({*self.checkpoints, offset}, reverse=True)[:2]
        else:
            await self.log.close()
            if name == "tear" and list_segments(self._directory):
                with list_segments(self._directory)[-1].open("ab") as file:
                    file.write(b"\x07" * values[0])
            self.log = self._open()

    def check(self) -> None:
        assert (self.log.first_offset, self.log.next_offset) == (self.first, len(self.given))
        for log in (self.log, open_readonly(self._directory)):
            for begin in {self.first, (self.first + len(self.given)) // 2, len(self.given)}:
                found = list(log.read_from(begin))
                assert [record.offset for record in found] == list(range(begin, len(self.given)))
                assert [record.payload for record in found] == self.given[begin:]
            assert [found.offset for found in log.checkpoints()] == self.checkpoints


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(steps=STEPS, segment_bytes=st.sampled_from([1092, 2000, 5000]))
async def test_a_log_has_what_a_list_has(
    tmp_path: Path, steps: list[tuple[str, list[int]]], segment_bytes: int
) -> None:
    model = Model(Path(tempfile.mkdtemp(dir=tmp_path)), segment_bytes)
    try:
        for name, values in steps:
            await model.step(name, values)
            model.check()
    finally:
        await model.log.close()
