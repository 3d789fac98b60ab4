"""How long do a million requests take on a GPU cluster, and what do failures, slow machines and waiting cost?

    python benchmarks/cluster_simulation.py

Simulates by discrete events how `infer --engine ray` works. One process, the driver, reads a block of requests while
the workers have nothing to do. Workers tokenise the block, 256 requests each at a time. It is cut into batches, and
each worker gets up to two; when the last one of the block is answered, the next block begins. A worker that fails loses
its batches, which the others do, and another one starts in its place after a while. If the driver fails, the command is
run again: what was answered since answers were last kept is asked again. Workers may be slow, and the seconds of
batches vary.

The requests can be divided into parts, each with a driver and workers of its own; a last command then reads all
answers. Prints a Markdown table: minutes by arithmetic (`planned`) and as simulated (the median of some seeds, and the
range), the efficiency, and what the workers did in the rest of their time. docs/scaling.md says where the constants are
from.
"""

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from heapq import heappop, heappush
from itertools import count
from math import ceil, fsum, inf
from statistics import median

import numpy as np


@dataclass(frozen=True, slots=True)
class Cluster:
    """What is simulated; all times are in seconds.

    Args:
        requests: How many there are.
        workers: GPUs, one a worker.
        rate: Requests a second of one worker, if it reads (tokenises) each request once and then answers it.
        batch: Requests of a batch.
        block: Requests of a block: all are answered before the next ones are read.
        driver_seconds: What the driver takes for a request while no worker works.
        token_seconds: What reading a request takes of a worker: all of a block are read before one is answered.
        stretch: Requests that one worker reads together.
        load_seconds: From the start of a worker until its model is loaded.
        variation: Standard deviation of the logarithm of the seconds of a batch.
        slow: Share of the workers that are slow.
        slowness: How many times as long these take.
        failing: Mean time between two failures of one worker.
        away: From a failure until another worker starts in its place.
        driver_failing: Mean time between two failures of the driver.
        restart: From a failure of the driver until the command is run again.
        kept: Answers are kept at least this often.
        ahead: Batches that lie with a worker.
        cores: Processors that the workers share; with one GPU each, as many as there are workers.
    """

    requests: int = 1_000_000
    workers: int = 8
    rate: float = 65.4
    batch: float = 30
    block: int = 2000
    driver_seconds: float = 0.0002
    token_seconds: float = 0.0024
    stretch: int = 256
    load_seconds: float = 60
    variation: float = 0.1
    slow: float = 0.0
    slowness: float = 1.5
    failing: float = inf
    away: float = 600
    driver_failing: float = inf
    restart: float = 300
    kept: float = 30
    ahead: int = 2
    cores: float = inf

    @property
    def answer_seconds(self) -> float:
        """Return what a worker takes to answer a request that it has read."""
        return 1 / self.rate - self.token_seconds

    def reading(self, size: float) -> float:
        """Return how long all workers together take to read so many requests: a stretch each, round by round."""
        stretches = ceil(size / self.stretch)
        rounds = ceil(stretches / self.workers)
        alone = stretches - (rounds - 1) * self.workers == 1  # the last stretch, which is shorter, is a round
        return (size - (stretches - rounds) * self.stretch if alone else rounds * self.stretch) * self.token_seconds


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a cluster.

    Args:
        cluster: What was simulated.
        seconds: From the start of the command to the last answer.
        worker_seconds: What the workers did, in seconds of all of them: `answering` (what counts), `again` (work that
            was lost), `away` (failed, or loading again), `loading` (at the start), `driver` (waiting for the driver, or
            for those that read), `idle` (waiting for the last batches of a block).
        again: Requests that were answered, or begun, and asked again.
        failures: Of workers.
        restarts: Of the driver.
    """

    cluster: Cluster
    seconds: float
    worker_seconds: dict[str, float]
    again: float
    failures: int
    restarts: int

    @property
    def requests_per_second(self) -> float:
        """Return what the cluster answers a second, the loading of the model not counted."""
        return self.cluster.requests / (self.seconds - self.cluster.load_seconds)

    @property
    def efficiency(self) -> float:
        """Return the share of the workers' seconds that answering takes at their rate; the rest is overhead."""
        return self.cluster.requests / self.cluster.rate / fsum(self.worker_seconds.values())


def planned(cluster: Cluster) -> float:
    """Return the seconds of a cluster by arithmetic alone.

    A block takes what the driver takes, what reading takes, and as many rounds of batches as the workers need for them.
    While a share of the workers is away, and where some are slow, rounds take longer in proportion. A failure of the
    driver costs the restart, the loading, and half of what is kept together.
    """
    c, batch_seconds = cluster, cluster.batch * cluster.answer_seconds
    blocks, rounds = c.requests / c.block, ceil(ceil(c.block / c.batch) / c.workers)
    there = 1 / (1 + (c.away + c.load_seconds) / c.failing) * (1 - c.slow + c.slow / c.slowness)
    working = blocks * (c.block * c.driver_seconds + c.reading(c.block) + rounds * batch_seconds / there)
    return c.load_seconds + working * (1 + (c.restart + c.load_seconds + c.kept / 2) / c.driver_failing)


@dataclass(slots=True)
class _Part:
    """A batch: its requests, and how long it took in real time once it is answered."""

    size: float
    took: float = 0.0
    ended: float = 0.0


@dataclass(slots=True)
class _Worker:
    """A worker: what lies with it, of which it works on the first, and since when."""

    index: int
    slowness: float
    parts: list[_Part]
    up: bool = True
    life: int = 0  # what is due from an earlier life never comes
    begun: float = 0.0


class _Run:
    """The clock of one simulation, its workers, and what is going to happen."""

    def __init__(self, cluster: Cluster, seed: int) -> None:
        self.cluster, self.random, self.order = cluster, np.random.default_rng(seed), count()
        slow = round(cluster.slow * cluster.workers)
        self.workers = [_Worker(n, cluster.slowness if n < slow else 1.0, []) for n in range(cluster.workers)]
        self.now = self.work = 0.0  # seconds, and those that each busy worker has worked: less where cores are shared
        self.timed: list[tuple[float, int, str, int]] = []  # when, order, what, worker
        self.due: list[tuple[float, int, int, int]] = []  # when the work is done, order, worker, its life
        self.busy = self.gone = self.failures = self.restarts = 0
        self.todo: list[_Part] = []
        self.seconds = dict.fromkeys(("answering", "again", "away", "loading", "driver", "idle"), 0.0)
        self.again = 0.0

    def all(self) -> Outcome:
        """Simulate from the start to the last answer."""
        c = self.cluster
        self.move(c.load_seconds, "loading")
        for index in range(c.workers):
            self.plan("fail", c.failing, index)
        self.plan("driver", c.driver_failing)
        left = c.requests
        while left > 0:
            self.block(min(c.block, left))
            left -= c.block
        self.seconds["answering"] -= self.seconds["again"]
        return Outcome(c, self.now, self.seconds, self.again, self.failures, self.restarts)

    def plan(self, what: str, mean: float, index: int = -1) -> None:
        """Let something happen after a time with this mean, as likely at any moment."""
        if mean < inf:
            heappush(self.timed, (self.now + self.random.exponential(mean), next(self.order), what, index))

    def move(self, to: float, waiting: str) -> None:
        """Let the time pass, and count what workers do; those without work wait for something."""
        passed = to - self.now
        self.seconds["answering"] += self.busy * passed
        self.seconds["away"] += self.gone * passed
        self.seconds[waiting] += (len(self.workers) - self.busy - self.gone) * passed
        self.work += passed * self.pace
        self.now = to

    @property
    def pace(self) -> float:
        """Return the work that a busy worker does in a second."""
        return min(1.0, self.cluster.cores / max(self.busy, 1))

    def block(self, size: int) -> None:
        """Let the driver read a block, and the workers answer it."""
        c = self.cluster
        self.wait(size * c.driver_seconds + c.reading(size))
        self.seconds["driver"] -= size * c.token_seconds  # those who read did not wait
        self.seconds["answering"] += size * c.token_seconds
        whole, rest = divmod(size, c.batch)
        self.todo = [_Part(c.batch) for _ in range(int(whole))] + ([_Part(rest)] if rest else [])
        begun, count_, done = self.now, len(self.todo), list[_Part]()
        self.hand_out(self.workers)
        while len(done) < count_:
            while self.due and self.workers[self.due[0][2]].life != self.due[0][3]:
                heappop(self.due)
            ready = self.now + (self.due[0][0] - self.work) / self.pace if self.due else inf
            if self.timed and self.timed[0][0] < ready:
                if self.happen("idle") == "driver":
                    kept = begun + (self.now - begun) // c.kept * c.kept
                    lost = [part for part in done if part.ended > kept]
                    self.lose(lost)
                    done = [part for part in done if part.ended <= kept]
                    for worker in self.workers:
                        self.drop(worker)
                    self.wait(c.restart + c.load_seconds)
                self.hand_out(self.workers)
                continue
            self.move(ready, "idle")
            worker = self.workers[heappop(self.due)[2]]
            part = worker.parts.pop(0)
            part.took, part.ended = self.now - worker.begun, self.now
            done.append(part)
            self.busy -= 1
            self.begin(worker)
            self.hand_out([worker])

    def wait(self, seconds: float) -> None:
        """Let all workers wait for the driver; if it fails, that begins again after the restart."""
        until = self.now + seconds
        while self.timed and self.timed[0][0] < until:
            if self.happen("driver") == "driver":
                until = self.now + self.cluster.restart + self.cluster.load_seconds + seconds
        self.move(until, "driver")

    def happen(self, waiting: str) -> str:
        """Let the next thing that is not an answer happen, and return what it is."""
        moment, _, what, index = heappop(self.timed)
        self.move(moment, waiting)
        c = self.cluster
        if what == "driver":
            self.restarts += 1
            self.plan("driver", c.driver_failing)
        elif what == "fail":
            worker = self.workers[index]
            self.failures += 1
            self.drop(worker)
            worker.up = False
            self.gone += 1
            heappush(self.timed, (self.now + c.away + c.load_seconds, next(self.order), "back", index))
        else:
            self.workers[index].up = True
            self.gone -= 1
            self.plan("fail", c.failing, index)
        return what

    def drop(self, worker: _Worker) -> None:
        """Take back what lies with a worker; what it had done of the first part is lost."""
        if worker.parts:
            self.busy -= 1
            worker.parts[0].took = self.now - worker.begun
            self.lose(worker.parts[:1])
            self.todo += worker.parts[1:]
        worker.parts = []
        worker.life += 1

    def lose(self, parts: Sequence[_Part]) -> None:
        """Put parts back that workers have spent time on."""
        self.seconds["again"] += sum(part.took for part in parts)
        self.again += sum(part.size for part in parts)
        self.todo += parts

    def hand_out(self, workers: Sequence[_Worker]) -> None:
        """Give parts to workers, the idle ones first."""
        for level in range(self.cluster.ahead):
            for worker in workers if self.todo else ():
                if self.todo and worker.up and len(worker.parts) <= level:
                    worker.parts.append(self.todo.pop())
                    if len(worker.parts) == 1:
                        self.begin(worker)

    def begin(self, worker: _Worker) -> None:
        """Let a worker begin with the first of its parts, if it has any."""
        if not worker.parts:
            return
        c = self.cluster
        varied = float(np.exp(self.random.normal(-(c.variation**2) / 2, c.variation)))
        work = worker.parts[0].size * c.answer_seconds * worker.slowness * varied
        worker.begun = self.now
        self.busy += 1
        heappush(self.due, (self.work + work, next(self.order), worker.index, worker.life))


def simulate(cluster: Cluster, *, seed: int) -> Outcome:
    """Return what comes of a cluster."""
    return _Run(cluster, seed).all()


def in_parts(cluster: Cluster, parts: int, *, seed: int) -> Outcome:
    """Return what comes of the cluster if each of equal parts of the requests has its share of the workers.

    The slow workers are dealt to the parts. The last part to end decides; then one command, without workers, reads all
    answers, for as long as a driver takes for all requests.
    """
    if parts == 1:
        return simulate(cluster, seed=seed)
    if cluster.workers % parts:
        raise ValueError(f"{cluster.workers} workers cannot be divided into {parts} equal parts")
    part, slow = _part(cluster, parts), round(cluster.slow * cluster.workers)
    found = [
        simulate(replace(part, slow=len(range(number, slow, parts)) / part.workers), seed=seed * 1000 + number)
        for number in range(parts)
    ]
    last = max(one.seconds for one in found)
    spent = {what: fsum(one.worker_seconds[what] for one in found) for what in found[0].worker_seconds}
    spent["idle"] += part.workers * fsum(last - one.seconds for one in found)
    return Outcome(
        cluster,
        last + cluster.requests * cluster.driver_seconds,
        spent,
        fsum(one.again for one in found),
        sum(one.failures for one in found),
        sum(one.restarts for one in found),
    )


def _part(cluster: Cluster, parts: int) -> Cluster:
    return replace(cluster, requests=ceil(cluster.requests / parts), workers=cluster.workers // parts)


def planned_in_parts(cluster: Cluster, parts: int) -> float:
    """Return what `planned` says of one of the parts, and the reading of all answers if there are several."""
    if parts == 1:
        return planned(cluster)
    part = _part(cluster, parts)
    if cluster.slow:  # one part may have no other workers
        part = replace(part, slow=ceil(cluster.slow * cluster.workers / parts) / part.workers)
    return planned(part) + cluster.requests * cluster.driver_seconds


def scenarios(base: Cluster) -> Iterator[tuple[str, int, Cluster]]:
    """Yield names, numbers of parts, and clusters."""
    for workers in (1, 8, 16, 64):
        yield "one run", 1, replace(base, workers=workers)
    for workers, parts in ((64, 8), (64, 64)):
        yield f"{parts} runs", parts, replace(base, workers=workers)
    slow = replace(base, workers=64, slow=1 / 16)
    yield "64 runs, 4 slow GPUs", 64, slow
    yield "8 runs, 4 slow GPUs", 8, slow
    daily = replace(base, workers=64, failing=24 * 3600, driver_failing=24 * 3600)
    yield "8 runs, each machine lost once a day", 8, daily
    hourly = replace(base, workers=64, failing=3600, driver_failing=6 * 3600)
    yield "8 runs, each GPU lost once an hour", 8, hourly
    yield "64 runs, each GPU lost once an hour", 64, hourly


def table(base: Cluster, seeds: int) -> Iterator[str]:
    """Yield the rows of a table with a line for each scenario."""
    shares = "loading | driver | idle | again | away"
    yield f"| runs | GPUs | planned, min | simulated, min | efficiency | {shares} | asked again |"
    yield "| --- | ---: | ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
    for name, parts, cluster in scenarios(base):
        found = [in_parts(cluster, parts, seed=seed) for seed in range(seeds)]
        minutes = [one.seconds / 60 for one in found]
        total = fsum(one.seconds for one in found) * cluster.workers
        spent: Mapping[str, float] = {
            what: fsum(one.worker_seconds[what] for one in found) / total for what in found[0].worker_seconds
        }
        rest = " | ".join(f"{100 * spent[what]:.1f} %" for what in ("loading", "driver", "idle", "again", "away"))
        yield (
            f"| {name} | {cluster.workers} | {planned_in_parts(cluster, parts) / 60:.1f} "
            f"| {median(minutes):.1f} ({min(minutes):.1f} to {max(minutes):.1f}) "
            f"| {100 * median(one.efficiency for one in found):.0f} % | {rest} "
            f"| {median(one.again for one in found):,.0f} |"
        )


def main(argv: Sequence[str] | None = None) -> int:
    """Simulate all scenarios, and print the table."""
    base = Cluster()
    parser = argparse.ArgumentParser(description="A million requests on a GPU cluster, simulated.")
    parser.add_argument("--requests", type=int, default=base.requests)
    parser.add_argument("--rate", type=float, default=base.rate, help="requests a second of one GPU")
    parser.add_argument("--batch", type=float, default=base.batch, help="requests of a batch")
    parser.add_argument(
        "--driver-seconds", type=float, default=base.driver_seconds, help="of the driver, for a request"
    )
    parser.add_argument("--token-seconds", type=float, default=base.token_seconds, help="of tokenising a request")
    parser.add_argument("--load-seconds", type=float, default=base.load_seconds, help="until a model is loaded")
    parser.add_argument("--seeds", type=int, default=5)
    args = parser.parse_args(argv)
    values = {name: value for name, value in vars(args).items() if name != "seeds"}
    for row in table(replace(base, **values), args.seeds):
        print(row, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
