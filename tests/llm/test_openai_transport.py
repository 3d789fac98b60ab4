"""How the OpenAI engine reaches a server: redirects, proxies, certificates."""

import sys
from pathlib import Path

import pytest

from fault_server import Script, text_of
from llmrs_bench.core.errors import EngineError, OptionError
from llmrs_bench.llm.backends.openai_options import OpenAIOptions
from llmrs_bench.llm.backends.openai_transport import Reply
from openai_cases import KEY, answers, engine
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


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        *(
            (f"{name}={value}", "is not a finite number")
            for name in ("temperature", "price_in")
            for value in ("inf", "nan")
        ),
        *(
            ("timeout=1e300", "is above"),
            ("concurrency=18446744073709551616", "is above"),
            ("unanswered=9e9", "neither a number of prompts"),
            ("unanswered=150%", "neither a number of prompts"),
        ),
        *((f"fields={value}", "not JSON") for value in ('{"x": NaN}', '{"x": 1e999}', "{", f'{{"x": {"9" * 5000}}}')),
        (r'fields={"x": "\ud9ff"}', "surrogate"),
        ("fields=[]", "not a JSON object"),
        ("key_env=A=B", "key_env"),
        *((f"fields={'[' * deep}{']' * deep}", "nested") for deep in (40, 99_999)),
        ('fields={"a": [{"api-key": "x"}]}', "secret"),
    ],
)
def test_what_no_request_can_hold_is_refused_by_the_name_of_the_option(wrong: str, said: str) -> None:
    name, _, value = wrong.partition("=")
    with pytest.raises(OptionError, match=said) as caught:
        OpenAIOptions.parse({name: value}, owner="openai")
    assert name in caught.value.message


@pytest.mark.parametrize(
    "url",
    [
        *("http://[::1/v1", "http://h:99999/v1", "http://h:x/v1", "http://a b/v1", "http:///v1", "http://1.2.3.999/v1"),
        *("h:80", f"http://{'a' * 70}/v1", "http://a\udcff/v1", "http://a\n/v1"),
    ],
)
def test_an_address_that_is_none_is_an_option_error(url: str) -> None:
    with pytest.raises(OptionError, match="is not the base URL"):
        _ = OpenAIOptions(base_url=url).address


@pytest.mark.parametrize(
    ("host", "public"),
    [
        *((host, False) for host in ("localhost", "127.0.0.1", "[::1]", "gpu7", "10.1.2.3", "a.local", "[fe80::1]")),
        *((host, True) for host in ("api.openai.com", "8.8.8.8", "llm.example.org.", "[2606:4700::1]")),
    ],
)
def test_servers_of_the_internet_are_told_by_their_names(host: str, public: bool) -> None:
    assert OpenAIOptions(base_url=f"http://{host}/v1").is_public == public


@pytest.mark.parametrize("deep", [99, 150, 90_000])
def test_a_reply_nested_very_deep_is_the_failure_of_one_prompt(url: str, script: Script, deep: int) -> None:
    content = b'{"choices": ' + b"[" * deep + b"]" * deep + b"}"
    prompts = [text_prompt(f"t{number}", history=number) for number in range(3)]
    script.reply = lambda body: content if text_of(body) == prompts[1].messages[0].content else None
    found = answers(engine(url, concurrency=1, retries=1), *prompts)
    assert sorted(answer.finish_reason for answer in found.values()) == ["stop", "stop", "unanswered"]


def test_the_key_is_masked_in_a_reply_however_it_is_written() -> None:
    escaped = "".join(f"\\u{ord(letter):04x}" for letter in KEY)
    reply = Reply(200, None, f'{{"{KEY}": ["a {KEY}", "{escaped}", 1, null]}}'.encode())
    assert reply.json(KEY) == {"***": ["a ***", "***", 1, None]}
    assert Reply(200, None, b'["1, 2"]').json("1") == ["1, 2"]  # no key, but a word of answers


def test_a_reply_in_gzip_is_unpacked(url: str, script: Script) -> None:
    script.faults = ["packed"]
    assert answers(engine(url), text_prompt())["p"].text == "2, 1"


@pytest.mark.parametrize(
    ("content", "text", "tokens"),
    [
        (b'{"choices": [{"message": {"content": "caf\xe9 2"}}], "usage": {"prompt_tokens": 7}}', "caf\ufffd 2", 7),
        (b'\xef\xbb\xbf{"choices": [{"message": {"content": "2"}}], "usage": {"prompt_tokens": 7}}', "2", 7),
        (b'{"choices": [{"message": {"content": "2"}}], "usage": {"prompt_tokens": %s}}' % (b"7" * 9000), "2", 0),
        ('{"choices": [{"message": {"content": "\u00e9 2"}}]}'.encode("utf-16"), "\u00e9 2", 0),
    ],
)
def test_what_no_json_should_hold_loses_no_answer(
    url: str, script: Script, content: bytes, text: str, tokens: int
) -> None:
    script.faults = [content]
    found = answers(engine(url), text_prompt())["p"]
    assert (found.text, found.prompt_tokens) == (text, tokens)
