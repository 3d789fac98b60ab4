"""The words of every template and part that ship, as `snapshots.txt` has them.

Write the file anew after a wanted change: `python tests/prompts/test_snapshots.py`.
"""

from pathlib import Path

from llmrs_bench.core.config import PromptConfig
from llmrs_bench.core.types import Example, Item, Prompt, Request
from llmrs_bench.prompts.strategies.base import ItemCatalog
from llmrs_bench.prompts.template import PART_NAMES, read_source, template_names, template_parts
from llmrs_bench.stages.prompt import open_plan
from template_runs import NEEDS, template_for

FILE = Path(__file__).with_name("snapshots.txt")
ITEMS = {
    name: Item(name, f"Title {name.upper()}", f"About {name}.", 1990 + place, ("Drama", "Comedy"))
    for place, name in enumerate("abcdefg")
}
REQUEST = Request(
    "r",
    "u",
    ("a", "b", "c"),
    ("d", "e", "f"),
    (5.0, 2.0, None),
    ("a",),
    (Example(("a",), "b"),),
    "Stories.",
    {"a": "Its start.", "c": "Its end.", "d": "rank 2", "e": "rank 1", "f": "not ranked"},
)


def said(template: str, **options: str) -> str:
    plan = open_plan(PromptConfig(template=template, options=options))
    prompts = plan.template.render(REQUEST, ItemCatalog(ITEMS, "story"), history=2)
    return "\n".join(map(text, prompts[:2])) + f"\n({len(prompts)} prompts)\n"


def text(prompt: Prompt) -> str:
    turns = [f"[{message.role}] {message.content}" for message in prompt.messages]
    return "\n".join([f"--- {prompt.prompt_id}", *turns, *(f"choice:{choice}" for choice in prompt.choices or ())])


def snapshots() -> str:
    blocks = [f"===== template {name}\n{said(name)}" for name in template_names()]
    for part in PART_NAMES:
        for name, template_part in template_parts(part).items():
            options = {part: name, **NEEDS.get(f"{part}={name}", {})}
            blocks.append(f"===== part {part}={name}\n{said(template_for(part, template_part.labels), **options)}")
    return "\n".join(blocks)


def test_every_template_and_part_says_what_it_said() -> None:
    assert snapshots() == FILE.read_text("utf-8")


def test_every_template_and_part_says_what_it_is() -> None:
    assert all(read_source(name).template_file.about.endswith(".") for name in template_names())
    assert all(
        template_part.about.endswith(".") for part in PART_NAMES for template_part in template_parts(part).values()
    )


def test_no_template_speaks_of_another_domain() -> None:
    """Items here are stories: a prompt about them names no movies, books, games, songs, news or products."""
    words = FILE.read_text("utf-8").lower().split()
    assert "stories:" in words
    assert not {"movie", "movies", "film", "films", "book", "books", "game", "song", "product"} & set(words)


if __name__ == "__main__":
    FILE.write_text(snapshots(), "utf-8")
