"""How the OpenAI engine reaches a server: redirects, proxies, certificates."""

import sys
from pathlib import Path

import pytest

from fault_server import Script
from llmrs_bench.core.errors import EngineError, OptionError
from openai_cases import answers, engine
from tiny_models import text_prompt


def test_a_redirect_is_followed_on_the_same_host_and_leads_the_key_nowhere_else(url: str, script: Script) -> None:
    script.faults = ["/v2/chat/completions"]
    assert answers(engine(url), text_prompt())["p"].text == "2, 1"
    assert script.paths == ["/v1/chat/completions", "/v2/chat/completions"]
    script.faults = [url] * 9
    with pytest.raises(EngineError, match="circles"):
        answers(engine(url), text_prompt())
    script.faults = [url.replace("127.0.0.1", "localhost")]
    with pytest.raises(EngineError, match="points to http://localhost"):
        answers(engine(url), text_prompt())


def test_a_proxy_that_cannot_be_used_is_named_unless_it_is_not_for_this_server(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "socksio", None)
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    with pytest.raises(OptionError, match="proxy") as caught:
        engine(url)
    assert "NO_PROXY=127.0.0.1" in caught.value.hint
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    assert answers(engine(url), text_prompt())["p"].text == "2, 1"


def test_certificates_that_are_not_there_are_named(url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none.pem"))
    with pytest.raises(OptionError, match=r"SSL_CERT_FILE=.*none\.pem"):
        engine(url)
