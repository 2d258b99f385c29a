"""--rank's expressions: what they compute, and what they refuse."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.expression import parse
from index.errors import UsageError

IDS = np.array([101, 102, 103])
VALUES = {
    "kd3": np.array([0.9, 0.5, 0.25], np.float32),
    "bn_shift": np.array([-1, 0, 2], np.float32),
    "width": np.array([16, 100, 32], np.float32),
}
A, B, W = (values.astype(np.float64) for values in VALUES.values())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("kd3", A),
        ("0.6*kd3 - 0.3*bn_shift", 0.6 * A - 0.3 * B),
        ("  -(kd3 + bn_shift) / 2 ", -(A + B) / 2),
        ("kd3 - bn_shift - 1", A - B - 1),
        ("kd3 / width / 2", A / W / 2),
        ("log(width) * sqrt(kd3)", np.log(W) * np.sqrt(A)),
        ("abs(bn_shift)", np.abs(B)),
        ("min(kd3, bn_shift, 0.4)", np.minimum(np.minimum(A, B), 0.4)),
        ("max(width, 32) + 1e-3", np.maximum(W, 32) + 1e-3),
    ],
)
def test_the_value_is_that_of_numpy(text: str, expected: np.ndarray) -> None:
    expression = parse(text, VALUES)
    np.testing.assert_allclose(expression.evaluate(VALUES, IDS), expected, rtol=1e-12)
    terms = [term.evaluate(VALUES, IDS) for term in expression.terms()]
    np.testing.assert_allclose(np.sum(terms, axis=0), expected, rtol=1e-12)


def test_terms_are_what_the_outermost_sum_adds_up() -> None:
    expression = parse("0.6*kd3 - (0.3*bn_shift - log(width))", VALUES)
    assert [term.text for term in expression.terms()] == [
        "0.6 * kd3",
        "-(0.3 * bn_shift)",
        "log(width)",
    ]
    assert expression.names == ("bn_shift", "kd3", "width")


def test_a_number_of_the_crawl_is_called_by_its_key() -> None:
    expression = parse("kd3 * -metadata.clip - metadata.Ärmel", VALUES)
    assert expression.names == ("kd3", "metadata.clip", "metadata.Ärmel")
    values = {**VALUES, "metadata.clip": W, "metadata.Ärmel": B}
    np.testing.assert_allclose(expression.evaluate(values, IDS), A * -W - B, rtol=1e-12)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0.5*kd4", "'kd4': did you mean kd3?"),
        ("zzzz + kd3", "choose one of kd3, bn_shift, width"),
        ("lg(width)", "no function is called 'lg': did you mean log?"),
        ("log(width, 2)", "log takes one value, not 2"),
        ("min(width)", "min takes two values or more, not 1"),
        ("kd3 ** 2", "kd3 ** 2 is not allowed"),
        ("kd3 // 2", "is not allowed"),
        ("+kd3", "is not allowed"),
        ("kd3 > 0.5", "is not allowed"),
        ("kd3 if kd3 else 1", "is not allowed"),
        ("kd3 and width", "is not allowed"),
        ("True * kd3", "True is not allowed"),
        ("1j * kd3", "1j is not allowed"),
        ("'a' * kd3", "is not allowed"),
        ("kd3.real", "kd3.real is not allowed"),
        ("metadata * kd3", "metadata has many keys: write metadata.NAME"),
        ("metadata.a.b", "metadata.a.b is not allowed"),
        ("metadata.log(kd3)", "is not allowed"),
        ("metadata['a'] + kd3", "is not allowed"),
        ("kd3[0]", "is not allowed"),
        ("(lambda: kd3)()", "is not allowed"),
        ("[kd3]", "is not allowed"),
        ("min(*kd3, 1)", "is not allowed"),
        ("max(kd3, key=abs)", "is not allowed"),
        ("__import__('os').system('true')", "is not allowed"),
        ("kd3; DROP TABLE images", "cannot be read"),
        ("kd3 +", "cannot be read"),
        (" ", "--rank is empty: give"),
        ("kd3\0", "cannot be read"),
        ("(" * 300 + "kd3" + ")" * 300, "cannot be read"),
        ("-" * 500 + "kd3", "nested more than 60 deep"),
        ("kd3 +" * 300 + "kd3", "it may have 1000"),
        ("1 + 2", "names no score"),
        ("1e999 * kd3", "too large"),
        ("9" * 400 + " * kd3", "too large"),
    ],
)
def test_what_is_not_arithmetic_is_refused(text: str, message: str) -> None:
    with pytest.raises(UsageError) as error:
        parse(text, VALUES)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("kd3 + log(bn_shift)", "log(bn_shift) is nan for image 101"),
        ("kd3 / bn_shift", "kd3 / bn_shift is inf for image 102"),
        ("sqrt(bn_shift)", "sqrt(bn_shift) is nan for image 101"),
        ("1e300 * width * 1e300", "is inf for image 101"),
        # Though the whole would be finite.
        ("1 / (kd3 / (bn_shift - bn_shift))", "kd3 / (bn_shift - bn_shift) is inf for image 101"),
    ],
)
def test_a_value_that_ranks_nothing_is_refused_with_its_term(text: str, message: str) -> None:
    with pytest.raises(UsageError) as error:
        parse(text, VALUES).evaluate(VALUES, IDS)
    assert message in str(error.value)


@given(st.text(max_size=40) | st.text("kd3 +-*/().,0123456789logminax", max_size=40))
def test_any_text_is_computed_or_refused(text: str) -> None:
    try:
        found = parse(text, VALUES).evaluate(VALUES, IDS)
    except UsageError:
        return
    assert found.shape == IDS.shape and bool(np.isfinite(found).all())
