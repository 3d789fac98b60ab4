"""Secret keys are recognized, and masked."""

import pytest

from llmrs_bench.core.artifacts import command_line
from llmrs_bench.core.masking import holds_key, is_secret, mask


@pytest.mark.parametrize(
    "key",
    ["sk-Abcd", "sk-proj-Ab12_cd", "hf_AbCd12", "ghp_aB3dE5fG7", "AKIAABCDEFGHIJKLMNOP", "xoxb-12-34ab", "gsk_Ab12cd"],
)
def test_what_looks_like_a_key_is_masked_wherever_it_stands(key: str) -> None:
    for text in (key, f'{{"user": "{key}"}}', f"a {key}, b", f"x={key}"):
        assert holds_key(text)
        assert key not in mask(text)


@pytest.mark.parametrize(
    "text",
    [
        "sk-lab/llama-7B",
        "hf-internal-testing/tiny",
        "OPENAI_API_KEY",
        "task-SK-17",
        "http://localhost:8000/v1",
        "sk-news",
    ],
)
def test_names_of_models_and_variables_are_no_keys(text: str) -> None:
    assert mask(text) == text


def test_a_known_key_is_masked_unless_it_may_be_a_word() -> None:
    assert mask("of local-secret-key!", "local-secret-key") == "of ***!"
    assert mask("1, 2, 3", "1") == "1, 2, 3"
    assert not is_secret("EMPTY")
    assert holds_key("sk-madeup")


def test_a_command_is_recorded_without_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_API_KEY", "from-the-environment")
    typed = ["/bin/llmrs-bench", "infer", "-m", "x", "-O", "a=sk-typed9", "-O", "b=from-the-environment"]
    assert command_line(typed) == "llmrs-bench infer -m x -O 'a=***' -O 'b=***'"
