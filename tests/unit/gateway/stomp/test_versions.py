"""Which version and which subprotocol are agreed."""

from __future__ import annotations

import pytest

from gateway.stomp.protocol.errors import UnsupportedVersion
from gateway.stomp.protocol.versions import Version, negotiate_version


@pytest.mark.parametrize(
    ("accept_version", "version"),
    [
        (None, Version.V1_0),
        ("1.0", Version.V1_0),
        ("1.1", Version.V1_1),
        ("1.0,1.1,1.2", Version.V1_2),
        ("1.2,1.0", Version.V1_2),
        ("1.0, 1.1", Version.V1_1),
        ("1.1,2.0", Version.V1_1),
    ],
)
def test_the_highest_common_version_is_chosen(accept_version: str | None, version: Version) -> None:
    assert negotiate_version(accept_version) is version


@pytest.mark.parametrize("accept_version", ["", "2.0", "1", "1.20", "1.2;1.1", "v1.2"])
def test_no_common_version_is_an_error_that_names_ours(accept_version: str) -> None:
    with pytest.raises(UnsupportedVersion) as caught:
        negotiate_version(accept_version)
    assert caught.value.supported == "1.0,1.1,1.2"
