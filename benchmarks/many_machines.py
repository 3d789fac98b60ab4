"""Do the workers of a Ray cluster answer as fast as the same number of processes by themselves, and what if one dies?

    python benchmarks/many_machines.py SMOLLM2 ml-100k        # a folder with a model, and MovieLens-100K

Starts a Ray cluster of a head and `--workers` nodes of one CPU each on this machine. Renders `likelihood` prompts of
MovieLens-100K, and answers them in turn, each worker and process with one thread:

- one: one process with the engine transformers answers all of them; what the others answer is compared with it.
- apart: `--workers` processes that know nothing of each other answer a part each, all at the same time.
- ray: the engine ray on the cluster answers all of them.
- fault: the same, but a node is killed once a third is answered, and a new one joins once two thirds are.

Tokenising is part of every time, loading and the self-check are not. On a machine with fewer cores than workers both
`apart` and `ray` share them alike. Prints Markdown tables; exits with 1 if an answer differs by more than `AGREEMENT`.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from math import fsum
from multiprocessing import get_context
from pathlib import Path
from statistics import mean, median
from typing import Any

import polars as pl

import llmrs_bench as lb
from cluster_simulation import Cluster, simulate
from llmrs_bench.core.environment import prints_on_stderr
from llmrs_bench.core.registry import ENGINES
from llmrs_bench.core.types import Prompt, Response
from llmrs_bench.llm.model_aliases import ModelSpec
from llmrs_bench.prompts.frames import read_prompts

Answers = dict[str, list[float]]  # of each prompt, the log-probability of each of its titles
AGREEMENT = 1e-3  # nat in a title
_STORE_BYTES = 2**27  # of each node, for prompts and answers in flight


@dataclass(frozen=True, slots=True)
class Lap:
    """What one process answered, and when.

    Args:
        answers: By prompt.
        begun: When it was handed its prompts, by a clock that all processes share.
        ended: When it had answered them.
        cpu: CPU seconds of that time, of all processes that took part.
        batches: Prompts and seconds of each batch, in order.
    """

    answers: Answers
    begun: float
    ended: float
    cpu: float
    batches: tuple[tuple[int, float], ...]


def rendered(source: Path, home: str, requests: int) -> list[Prompt]:
    """Return the likelihood prompts of so many users of MovieLens-100K."""
    data = lb.prepare("ml100k", source=source, home=home, users=requests)
    command = [sys.executable, "-m", "llmrs_bench", "prompt", "--dataset", data.name, "--template", "likelihood"]
    subprocess.run([*command, "--home", home], check=True, capture_output=True)
    (table,) = Path(home).glob("ml100k/*/prompts/*/prompts.parquet")
    return list(read_prompts(pl.read_parquet(table)))


def deal(prompts: Sequence[Prompt], parts: int) -> list[list[Prompt]]:
    """Deal prompts like cards, the longest first, so that parts take nearly as long; each keeps the given order."""
    length = {prompt.prompt_id: sum(len(message.content) for message in prompt.messages) for prompt in prompts}
    order = sorted(range(len(prompts)), key=lambda number: -length[prompts[number].prompt_id])
    return [[prompts[number] for number in sorted(order[part::parts])] for part in range(parts)]


def cpu_seconds() -> float:
    """Return the CPU seconds of this process and of all that descend from it and still run."""
    used: dict[int, tuple[int, int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has ended
            values = path.read_text().rpartition(")")[2].split()
            used[int(path.parent.name)] = (int(values[1]), int(values[11]) + int(values[12]))
    ours, found = {os.getpid()}, 0
    while found < len(ours):
        found = len(ours)
        ours |= {process for process, (parent, _) in used.items() if parent in ours}
    return sum(used[process][1] for process in ours) / os.sysconf("SC_CLK_TCK")


def answer(engine: Any, prompts: Sequence[Prompt], seen: Callable[[int], None] = lambda done: None) -> Lap:
    """Answer prompts as `infer` does: count their tokens, cut them into batches, answer those; tell what is done."""
    found: list[Response] = []
    laps: list[tuple[int, float]] = []
    used, begun = cpu_seconds(), time.monotonic()
    mark = begun
    engine.count_tokens(prompts)
    for responses in engine.answer_batches(engine.batches(prompts)):
        found += responses
        mark, before = time.monotonic(), mark
        laps.append((len(responses), mark - before))
        seen(len(found))
    answers = {one.prompt_id: [fsum(title) for title in one.choice_logprobs or ()] for one in found}
    if len(answers) != len(prompts) or len(found) != len(prompts):
        raise SystemExit(f"{len(found)} answers to {len(prompts)} prompts")
    return Lap(answers, begun, mark, cpu_seconds() - used, tuple(laps))


def difference(one: Answers, other: Answers) -> float:
    """Return the largest difference in a title, in nats."""
    if one.keys() != other.keys():
        raise ValueError(f"answers to {len(one)} and {len(other)} prompts, {len(one.keys() & other.keys())} in common")
    return max(abs(a - b) for name, titles in one.items() for a, b in zip(titles, other[name], strict=True))


def together(laps: Sequence[Lap]) -> float:
    """Return the prompts a second of processes side by side, from the first that begins to the last that ends."""
    answered = sum(len(lap.answers) for lap in laps)
    return answered / (max(lap.ended for lap in laps) - min(lap.begun for lap in laps))


def summed(laps: Sequence[Lap]) -> float:
    """Return the sum of what each process answers a second."""
    return fsum(len(lap.answers) / (lap.ended - lap.begun) for lap in laps)


def made(engine: str, model: Path, /, **options: object) -> Any:
    """Return an engine on the CPU, loaded."""
    kind: Any = ENGINES.load(engine)
    options = {"self_check": 1, **options}
    parsed = kind.Options.parse({name: str(value) for name, value in options.items()}, owner=engine)
    return kind(ModelSpec(model.name, str(model)), parsed, device="cpu", seed=0)


def alone(model: Path, prompts: Sequence[Prompt], ready: Any, results: Any) -> None:
    """Load the engine, wait for the others, answer, and put the lap among the results: a process of `apart`."""
    engine = made("transformers", model)
    engine.check(prompts)
    ready.wait()
    results.put(answer(engine, prompts))


def apart(model: Path, parts: Sequence[Sequence[Prompt]]) -> list[Lap]:
    """Answer each part in a process of its own, all at the same time."""
    context = get_context("spawn")
    ready, results = context.Barrier(len(parts)), context.Queue()
    processes = [context.Process(target=alone, args=(model, part, ready, results)) for part in parts]
    for process in processes:
        process.start()
    laps = [results.get() for _ in processes]
    for process in processes:
        process.join()
    return laps


class LocalCluster:
    """A head without CPUs, and nodes with one CPU each, as processes of this machine."""

    def __init__(self, nodes: int) -> None:
        from ray.cluster_utils import Cluster as Nodes

        head = {"num_cpus": 0, "object_store_memory": _STORE_BYTES, "include_dashboard": False}
        self._nodes = Nodes(initialize_head=True, head_node_args=head)
        self.address = str(self._nodes.address)
        self._live = [self._started() for _ in range(nodes)]

    def kill(self) -> None:
        """Kill a node with all of its processes."""
        self._nodes.remove_node(self._live.pop(0), allow_graceful=False)

    def join(self) -> None:
        """Start one more node."""
        self._live.append(self._started())

    def stop(self) -> None:
        """End all nodes."""
        self._nodes.shutdown()

    def _started(self) -> Any:
        return self._nodes.add_node(num_cpus=1, object_store_memory=_STORE_BYTES)


@contextmanager
def cluster(nodes: int) -> Iterator[LocalCluster]:
    """Yield a cluster that ends with the block."""
    started = LocalCluster(nodes)
    try:
        yield started
    finally:
        started.stop()


def on_cluster(
    model: Path, prompts: Sequence[Prompt], nodes: LocalCluster, workers: int, seen: Callable[[int], None]
) -> tuple[Lap, Mapping[str, Any]]:
    """Return what the engine ray answers on the cluster, and its facts."""
    engine = made("ray", model, address=nodes.address, workers=workers)
    engine.check(prompts)
    lap = answer(engine, prompts, seen)
    facts = engine.facts()
    engine.close()
    return lap, facts


class Faults:
    """Kills a node once a share of the prompts is answered, and lets one join after another share."""

    def __init__(self, nodes: LocalCluster, prompts: int) -> None:
        self._due = [(prompts / 3, nodes.kill), (prompts * 2 / 3, nodes.join)]
        self.moments: list[float] = []

    def __call__(self, done: int) -> None:
        """Do what is due after so many answers."""
        while self._due and done >= self._due[0][0]:
            self.moments.append(time.monotonic())
            self._due.pop(0)[1]()


def predicted(laps: Sequence[Lap], ray: Lap, workers: int, cores: int) -> float:
    """Return the prompts a second that the simulation expects of `ray`, by what batches take in `apart`."""
    prompts = sum(size for lap in laps for size, _ in lap.batches)
    busy = min(1.0, cores / workers)  # the share of a core that each process had
    rate = prompts / fsum(seconds for lap in laps for _, seconds in lap.batches) / busy
    sizes = [size for size, _ in ray.batches]
    setting = Cluster(
        requests=sum(sizes), workers=workers, cores=cores, rate=rate, batch=mean(sizes), block=sum(sizes),
        load_seconds=0, driver_seconds=0, token_seconds=0,
    )  # fmt: skip
    return simulate(setting, seed=0).requests_per_second


def spread(values: Sequence[float]) -> str:
    """Return the median, and the least and the most."""
    return f"{median(values):.3f} ({min(values):.3f} to {max(values):.3f})"


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Return the options."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path, help="a folder of transformers")
    parser.add_argument("source", type=Path, help="ml-100k, a folder or an archive")
    parser.add_argument("--requests", type=int, default=160)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3, help="runs of apart and ray, in turn")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure all ways, print the tables, and return 0 if all answer alike."""
    args = parse_args(argv)
    os.environ["OMP_NUM_THREADS"] = "1"  # of every process that is started here
    with tempfile.TemporaryDirectory() as home:
        prompts = rendered(args.source, home, args.requests)
    parts = deal(prompts, args.workers)
    (one,) = apart(args.model, [prompts])
    print(f"one process: {together([one]):.3f} prompts/s", file=sys.stderr)
    separate: list[list[Lap]] = []
    joint: list[Lap] = []
    with prints_on_stderr(), cluster(args.workers) as nodes:  # Ray says on stdout what died
        for _ in range(args.rounds):
            separate.append(apart(args.model, parts))
            joint.append(on_cluster(args.model, prompts, nodes, args.workers, lambda done: None)[0])
            print(
                f"apart {together(separate[-1]):.3f} (sum {summed(separate[-1]):.3f}), ray {together(joint[-1:]):.3f}",
                file=sys.stderr,
            )
        faults = Faults(nodes, len(prompts))
        fault, facts = on_cluster(args.model, prompts, nodes, args.workers, faults)
    report(args, one, separate, joint)
    killed, joined = faults.moments
    print(
        f"\nFault: {together([fault]):.3f} prompts/s; a node killed after {killed - fault.begun:.0f} s, one joined "
        f"after {joined - fault.begun:.0f} s of {fault.ended - fault.begun:.0f} s; workers that died: "
        f"{facts['worker_deaths']}."
    )
    others = {
        "apart": [merged(laps) for laps in separate],
        "ray": [lap.answers for lap in joint],
        "fault": [fault.answers],
    }
    worst = {name: max(difference(one.answers, answers) for answers in found) for name, found in others.items()}
    print(
        f"Largest difference from one process, nat in a title: {', '.join(f'{n} {d:.1e}' for n, d in worst.items())}."
    )
    return 0 if max(worst.values()) <= AGREEMENT else 1


def merged(laps: Sequence[Lap]) -> Answers:
    """Return the answers of all processes."""
    return {name: titles for lap in laps for name, titles in lap.answers.items()}


def report(args: argparse.Namespace, one: Lap, separate: Sequence[Sequence[Lap]], joint: Sequence[Lap]) -> None:
    """Print the figures as Markdown."""
    cores = os.cpu_count() or 1
    print(f"{args.model.name}, {len(one.answers)} prompts, {args.workers} workers of one thread on {cores} cores.\n")
    print("| way | prompts/s: median (range) | of the processes apart | CPU s a prompt |")
    print("| --- | --- | --- | --- |")
    sums, rates = [summed(laps) for laps in separate], [together(laps) for laps in separate]
    ray = [together([lap]) for lap in joint]
    ratios = [now / then for now, then in zip(ray, rates, strict=True)]
    of_sum = [now / then for now, then in zip(ray, sums, strict=True)]
    expected = [predicted(laps, lap, args.workers, cores) for laps, lap in zip(separate, joint, strict=True)]
    prompts = len(one.answers)
    work = [
        spread([fsum(lap.cpu for lap in laps) / prompts for laps in way]) for way in (separate, [[j] for j in joint])
    ]
    print(f"| one process | {together([one]):.3f} | | {one.cpu / prompts:.3f} |")
    print(f"| apart, first start to last end | {spread(rates)} | 1 | {work[0]} |")
    print(f"| apart, sum of each one's own rate | {spread(sums)} | | |")
    print(f"| ray | {spread(ray)} | {spread(ratios)}; of the sum {spread(of_sum)} | {work[1]} |")
    print(f"| ray as simulated | {spread(expected)} | | |")


if __name__ == "__main__":
    sys.exit(main())
