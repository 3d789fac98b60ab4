"""A scripted server, for the tests of the engine `openai`."""

from collections.abc import Iterator

import pytest

from fault_server import Script, serve
from openai_cases import KEY


@pytest.fixture
def script() -> Script:
    return Script()


@pytest.fixture
def url(script: Script, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with serve(script) as found:
        yield found
