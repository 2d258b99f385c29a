"""Damaged images decode or say why they do not: no crash, no hang, nothing else raised."""

from __future__ import annotations

from pathlib import Path

import pytest

from index.decoding import DecodeError, View, decode
from tests.index.helpers import encode, noise

from .mutations import DAMAGES, FORMATS, mutation, originals, run

COUNT, SEED = 2000, 1


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux's /proc")
def test_two_thousand_mutations_of_real_images(data_dir: Path) -> None:
    import duckdb

    with duckdb.connect() as connection:
        rows = connection.execute(
            "SELECT image FROM read_parquet(?, file_row_number = true) "
            "WHERE file_row_number % 300 = 0 AND width <= 500",
            [str(data_dir / "webpool" / "webpool_1.parquet")],
        ).fetchall()
    record = run(originals([image for (image,) in rows]), COUNT, SEED)
    assert record.lost == []
    assert record.total == COUNT
    assert record.decoded > COUNT / 10 and len(record.reasons) > 10
    assert all(reason for reason in record.reasons)


def test_a_mutation_is_a_function_of_its_number() -> None:
    whole = originals([encode(noise(0, 40), "JPEG")])
    assert len(whole) == 1 + len(FORMATS)
    made = [mutation(whole, SEED, number) for number in range(100)]
    assert made == [mutation(whole, SEED, number) for number in range(100)]
    assert made[3:] != [mutation(whole, SEED + 1, number) for number in range(3, 100)]
    assert len(set(made) - set(whole)) > 90
    assert len(DAMAGES) == 7
    for data in made:
        try:
            assert decode(data, View(8)).pixels.shape == (8, 8, 3)
        except DecodeError as error:
            assert str(error)
