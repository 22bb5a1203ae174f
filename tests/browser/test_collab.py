"""Two people look at a chart together: two tabs of a real browser, with fake cameras."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, expect

from tests.browser.bars import Bars
from tests.browser.test_access import violations
from tests.browser.visits import Visit, running_browser, visiting
from tests.integration.gateway.live import live

pytestmark = pytest.mark.asyncio(loop_scope="module")

CAMERA = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")

# The pictures of another person move: the sum of some pixels changes.
FRAMES = """
    async () => {
      const videos = [...document.querySelectorAll('#tiles figure:not([data-person=self]) video')];
      const seen = [];
      for (const video of videos) {
        const canvas = new OffscreenCanvas(64, 36);
        const pen = canvas.getContext('2d', { willReadFrequently: true });
        const sums = new Set();
        const until = performance.now() + 5000;
        while (sums.size < 3 && performance.now() < until) {
          await new Promise((go) => video.requestVideoFrameCallback(go));
          pen.drawImage(video, 0, 0, 64, 36);
          sums.add(pen.getImageData(0, 0, 64, 36).data.reduce((sum, each) => sum + each, 0));
        }
        seen.push({ width: video.videoWidth, pictures: sums.size, time: video.currentTime });
      }
      return seen;
    }
"""
# Keeps every peer connection of the page, so that a test can ask it for statistics.
KEEP_PEERS = """
    window.peers = [];
    window.RTCPeerConnection = class extends RTCPeerConnection {
      constructor(...given) { super(...given); window.peers.push(this); }
    };
"""
# Keeps what the page tells the others.
KEEP_SENT = """
    () => {
      window.sent = [];
      const send = RTCDataChannel.prototype.send;
      RTCDataChannel.prototype.send = function (text) {
        window.sent.push(JSON.parse(text));
        send.call(this, text);
      };
    }
"""
DECODED = """
    async () => {
      let frames = 0;
      for (const peer of window.peers) {
        for (const report of (await peer.getStats()).values()) {
          if (report.type === 'inbound-rtp' && report.kind === 'video') {
            frames += report.framesDecoded ?? 0;
          }
        }
      }
      return frames;
    }
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cameras() -> AsyncIterator[Browser]:
    async with running_browser(*CAMERA) as browser:
        yield browser


@contextlib.asynccontextmanager
async def person(
    browser: Browser,
    address: str,
    name: str,
    *,
    quietly: bool = False,
    room: str = "desk",
    bars: int = 0,
    **settings: Any,
) -> AsyncIterator[Visit]:
    """Let somebody come into a room, where the chart has so many bars."""
    given = {"permissions": ["camera", "microphone"], **settings}
    async with visiting(browser, address, **given) as visit:
        await visit.page.add_init_script(KEEP_PEERS)
        if bars:
            await Bars(count=bars).serve(visit.page)
        await visit.go(f"/collab#{room}/AAPL/1m")
        await visit.page.get_by_label("Your name").fill(name)
        await visit.page.get_by_role(
            "button", name="Join without" if quietly else "Join with camera"
        ).click()
        await expect(visit.page.locator("#connection")).to_have_text("in the room")
        yield visit


async def sees(visit: Visit, *names: str) -> None:
    """Wait until the list of participants is this, oneself first."""
    await expect(visit.page.locator("#participants li > span:first-child")).to_have_text(
        [f"{names[0]} (you)", *names[1:]]
    )
    await visit.until(
        "window.peers.filter((each) => each.connectionState === 'connected').length === argument",
        len(names) - 1,
    )


async def check_frames(visit: Visit, people: int = 1) -> None:
    """Check that moving pictures of the others arrive, and are decoded."""
    before: int = await visit.page.evaluate(DECODED)
    seen: list[dict[str, Any]] = await visit.page.evaluate(FRAMES)
    assert len(seen) == people
    for video in seen:
        assert video["width"] > 0
        assert video["pictures"] >= 3
        assert video["time"] > 0
    assert await visit.page.evaluate(DECODED) > before


async def test_two_tabs_see_each_other_and_where_the_other_points(cameras: Browser) -> None:
    async with (
        live() as (address, feed),
        person(cameras, address, "Ada") as ada,
        person(cameras, address, "Bob") as bob,
    ):
        await feed.price("AAPL", 10.0)
        await sees(ada, "Ada", "Bob")
        await sees(bob, "Bob", "Ada")
        for visit in (ada, bob):
            await check_frames(visit)
        plot = await ada.page.locator("#plot").bounding_box()
        assert plot is not None
        await ada.page.mouse.move(plot["x"] + plot["width"] / 4, plot["y"] + plot["height"] / 2)
        cursor = bob.page.locator(".cursor span")
        await expect(cursor).to_be_visible()
        await expect(cursor).to_have_text("Ada")
        there = await bob.page.locator("#plot").bounding_box()
        shown = await cursor.bounding_box()
        assert there is not None
        assert shown is not None
        assert abs(shown["x"] - there["x"] - there["width"] / 4) < 30
        assert abs(shown["y"] - there["y"] - there["height"] / 2) < 30
        await ada.page.mouse.move(0, 0)
        await expect(cursor).to_be_hidden()
        assert ada.elsewhere() == bob.elsewhere() == []
        assert await ada.violations() == []


async def test_what_one_mutes_the_other_sees(cameras: Browser) -> None:
    async with (
        live() as (address, _),
        person(cameras, address, "Ada") as ada,
        person(cameras, address, "Bob") as bob,
    ):
        await sees(bob, "Bob", "Ada")
        row = bob.page.locator("#participants li", has_text="Ada")
        await ada.page.get_by_role("button", name="Mute").click()
        await expect(row).to_contain_text("muted")
        await ada.page.get_by_role("button", name="Camera off").click()
        await expect(row).to_contain_text("muted, no camera")
        theirs = bob.page.locator("#tiles figure:not([data-person=self]) video")
        await expect(theirs).to_be_hidden()
        await ada.page.get_by_role("button", name="Unmute").click()
        await ada.page.get_by_role("button", name="Camera on").click()
        await expect(row).not_to_contain_text("muted")
        await expect(theirs).to_be_visible()


async def test_who_comes_late_sees_all_and_who_leaves_vanishes(cameras: Browser) -> None:
    async with (
        live() as (address, _),
        person(cameras, address, "Ada") as ada,
        person(cameras, address, "Bob") as bob,
    ):
        await sees(bob, "Bob", "Ada")
        await ada.page.get_by_label("Symbol").fill("MSFT")
        await ada.page.get_by_role("button", name="Show to all").click()
        await expect(bob.page.get_by_label("Symbol")).to_have_value("MSFT")
        async with person(cameras, address, "Cy") as late:
            await expect(late.page.locator("#participants li")).to_have_count(3)
            await expect(late.page.get_by_label("Symbol")).to_have_value("MSFT")
            await check_frames(late, 2)
            await expect(ada.page.locator("#participants li")).to_have_count(3)
        # One closes the tab, the other says so.
        await sees(ada, "Ada", "Bob")
        await bob.page.get_by_role("button", name="Leave").click()
        await sees(ada, "Ada")
        await expect(ada.page.locator("#said")).to_have_text("Bob has left.")
        await expect(ada.page.locator("#tiles figure")).to_have_count(1)


async def test_a_room_is_its_own_and_needs_no_camera(browser: Browser) -> None:
    async with (
        live() as (address, _),
        person(browser, address, "Ada", quietly=True) as ada,
        person(browser, address, "Bob", quietly=True) as bob,
        person(browser, address, "Eve", quietly=True, room="other") as eve,
    ):
        await sees(ada, "Ada", "Bob")
        await sees(bob, "Bob", "Ada")
        await sees(eve, "Eve")
        await expect(ada.page.get_by_role("button", name="Unmute")).to_be_disabled()


@pytest.mark.parametrize("theme", ["light", "dark"])
async def test_axe_has_no_objections(cameras: Browser, theme: Any) -> None:
    async with (
        live() as (address, _),
        visiting(cameras, address, color_scheme=theme) as alone,
        person(cameras, address, "Ada", color_scheme=theme) as ada,
        person(cameras, address, "Bob", color_scheme=theme) as bob,
    ):
        await alone.go("/collab")
        assert await violations(alone.page) == []
        await sees(ada, "Ada", "Bob")
        assert await violations(bob.page) == []


async def test_the_cursor_lies_on_the_same_bar_in_a_window_of_another_size(
    browser: Browser,
) -> None:
    small = {"width": 900, "height": 600}
    async with (
        live() as (address, _),
        person(browser, address, "Ada", quietly=True, bars=50) as ada,
        person(browser, address, "Bob", quietly=True, bars=50, viewport=small) as bob,
    ):
        await sees(ada, "Ada", "Bob")
        for visit in (ada, bob):
            await visit.until("document.querySelector('#plot').dataset.bars === '50'")
        await ada.page.evaluate(KEEP_SENT)
        plot = await ada.page.locator("#plot").bounding_box()
        assert plot is not None
        await ada.page.mouse.move(plot["x"] + plot["width"] * 0.8, plot["y"] + plot["height"] / 2)
        await expect(bob.page.locator(".cursor span")).to_have_text("Ada")
        await bob.page.evaluate(KEEP_SENT)
        # Bob points at where he sees Ada's cursor, and says the same bar.
        place = await bob.page.locator(".cursor").evaluate("(it) => it.getBoundingClientRect()")
        await bob.page.mouse.move(place["x"], place["y"])
        await expect(ada.page.locator(".cursor span")).to_be_visible()
        first, second = [
            await visit.page.evaluate("window.sent.at(-1).cursor") for visit in (ada, bob)
        ]
        assert first["time"] == second["time"] is not None
        assert abs(first["price"] - second["price"]) < 0.01 * first["price"]
