"""The table of methods: what each student reached, and what it costs beside its teacher."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from curate.report.features import card_of
from curate.report.scope import RunFacts
from distill.evaluation import evaluate
from distill.images import load_labelled
from distill.networks import Network, load_network
from distill.networks.cost import cost
from index.catalog import Catalog
from index.errors import KdcurateError
from index.progress import Progress


@dataclass(frozen=True)
class MethodRow:
    """One student, or a teacher (`run` is None); what is not known is None, and `remark` says why.

    `recovery` is the student's accuracy over its teacher's on the same labelled images.
    `params` counts parameters, `flops` operations for one image as the KD3 paper counts them.
    """

    run: str | None
    method: str
    network: str
    manifest: str | None
    images: int | None
    rounds: int
    steps: int | None
    accuracy: float | None
    recovery: float | None
    params: int | None
    macs: int | None
    flops: int | None
    seconds: float | None
    remark: str = ""


def read_methods(
    catalog: Catalog, runs: Sequence[RunFacts], device: str, progress: Progress
) -> list[MethodRow]:
    """Make the table: teachers first, then the students, the best of them first.

    A teacher is evaluated on the labelled images that a run was evaluated on, if they are there.
    """
    known = _Teachers(catalog, device, progress)
    students = [_student(run, known.accuracy(run)) for run in runs]
    students.sort(key=lambda row: (-(row.accuracy or 0), row.run))
    return [*known.rows(runs), *students]


class _Teachers:
    """Teachers, each loaded once, and evaluated once on each labelled data set."""

    def __init__(self, catalog: Catalog, device: str, progress: Progress) -> None:
        self._catalog = catalog
        self._device = device
        self._progress = progress
        self._networks: dict[str, Network | str] = {}
        self._accuracies: dict[tuple[str, str], float | str] = {}

    def accuracy(self, run: RunFacts) -> float | str:
        """Return a teacher's accuracy on what a run was evaluated on, or why it is not known."""
        if run.accuracy is None or run.evaluated_on is None:
            return "not evaluated: distil with --eval"
        place = run.teacher, run.evaluated_on
        if place not in self._accuracies:
            self._accuracies[place] = self._evaluate(*place)
        return self._accuracies[place]

    def rows(self, runs: Sequence[RunFacts]) -> list[MethodRow]:
        """Return a row for each teacher of the runs."""
        return [self._row(key) for key in sorted({run.teacher for run in runs})]

    def _row(self, key: str) -> MethodRow:
        known = [found for (of, _), found in self._accuracies.items() if of == key]
        accuracies = {found for found in known if isinstance(found, float)}
        accuracy = accuracies.pop() if len(accuracies) == 1 else None
        network = self._network(key)
        params, macs, flops = (None, None, None) if isinstance(network, str) else _cost(network)
        remark = network if isinstance(network, str) else ""
        empty = dict.fromkeys(("manifest", "images", "steps", "recovery", "seconds"))
        return MethodRow(
            **empty,
            run=None,
            method="teacher",
            network=key,
            rounds=0,
            accuracy=accuracy,
            params=params,
            macs=macs,
            flops=flops,
            remark=remark,
        )

    def _network(self, key: str) -> Network | str:
        if key not in self._networks:
            try:
                self._networks[key] = load_network(card_of(self._catalog, key))
            except KdcurateError as error:
                self._networks[key] = f"cannot be loaded: {error}"
        return self._networks[key]

    def _evaluate(self, teacher: str, data: str) -> float | str:
        network = self._network(teacher)
        if isinstance(network, str):
            return f"its teacher {network}"
        self._progress.say(f"evaluating {teacher} on {data}")
        try:
            labelled = load_labelled(data, network.card.input.view(), network.card.classes)
            return evaluate(network.to(self._device), labelled, self._device).accuracy
        except KdcurateError as error:
            return f"its teacher cannot be evaluated: {error}"


def _student(run: RunFacts, of_teacher: float | str) -> MethodRow:
    remark = of_teacher if isinstance(of_teacher, str) else ""
    recovery = None
    if isinstance(of_teacher, float) and of_teacher > 0 and run.accuracy is not None:
        recovery = run.accuracy / of_teacher
    try:
        network = load_network(run.folder / "student.toml")
        architecture, (params, macs, flops) = network.card.architecture, _cost(network)
    except KdcurateError as error:
        architecture, (params, macs, flops) = run.student, (None, None, None)
        remark = "its files are gone" if not _is_there(run) else f"cannot be loaded: {error}"
    return MethodRow(
        run=run.name,
        method=run.method,
        network=architecture,
        manifest=run.manifest,
        images=run.selected,
        rounds=run.rounds,
        steps=run.steps,
        accuracy=run.accuracy,
        recovery=recovery,
        params=params,
        macs=macs,
        flops=flops,
        seconds=run.seconds,
        remark=remark,
    )


def _is_there(run: RunFacts) -> bool:
    return (run.folder / "student.toml").is_file()


def _cost(network: Network) -> tuple[int | None, int | None, int | None]:
    found = cost(network.module.cpu(), network.card.input.size)
    return found.params, found.macs, found.flops
