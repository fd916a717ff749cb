from __future__ import annotations

import math
from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tests.trainers.disc_slices import tiny_config
from trainers.detector.order import Order, budget

REAL = st.integers(1, 40)
SYNTHETIC = st.integers(0, 60)
BATCH = st.integers(1, 16)
SHARE = st.one_of(
    st.none(), st.sampled_from([0.0, 0.1, 0.3, 0.5, 0.999, 1.0]), st.floats(0, 1).map(lambda x: round(x, 4))
)
STEPS = st.integers(1, 40)


def shown(order: Order, steps: int) -> list[int]:
    return [draw.position for step in range(steps) for draw in order.draws(step)]


@given(REAL, SYNTHETIC, BATCH, SHARE, STEPS)
def test_what_is_said_to_be_seen_is_seen(real: int, synthetic: int, batch: int, share: float, steps: int) -> None:
    order = Order(tiny_config(batch=batch, synthetic_share=share), real, synthetic)
    positions = shown(order, steps)
    seen = order.seen(steps)
    assert seen.real == sum(position < real for position in positions)
    assert seen.synthetic == sum(position >= real for position in positions)
    assert seen.real + seen.synthetic == steps * batch
    assert 0 <= min(positions) <= max(positions) < real + synthetic


@given(REAL, SYNTHETIC, BATCH, SHARE, STEPS)
def test_slices_of_a_kind_are_seen_equally_often(
    real: int, synthetic: int, batch: int, share: float, steps: int
) -> None:
    counts = Counter(shown(Order(tiny_config(batch=batch, synthetic_share=share), real, synthetic), steps))
    pooled = share is None or not synthetic
    for group in [range(real + synthetic)] if pooled else [range(real), range(real, real + synthetic)]:
        times = [counts[position] for position in group]
        assert max(times) - min(times) <= 1


@given(REAL, st.integers(1, 60), st.floats(0, 1).map(lambda x: round(x, 3)), st.integers(0, 10**9), st.integers(1, 300))
def test_every_stretch_of_slots_has_the_share(real: int, synthetic: int, share: float, first: int, length: int) -> None:
    order = Order(tiny_config(batch=1, synthetic_share=share), real, synthetic)
    found = sum(order.draws(slot)[0].position >= real for slot in range(first, first + length))
    assert abs(found - share * length) < 1 + 1e-6


@given(REAL, SYNTHETIC, SHARE, st.integers(0, 30), st.sampled_from([1, 2, 3, 4]))
def test_the_ranks_together_show_the_batch(real: int, synthetic: int, share: float, step: int, ranks: int) -> None:
    order = Order(tiny_config(batch=12, synthetic_share=share), real, synthetic)
    together = [draw for rank in range(ranks) for draw in order.draws(step, rank, ranks)]
    assert together == order.draws(step)
    assert [draw.place for draw in together] == list(range(12))


@given(REAL, SHARE)
def test_a_share_of_no_synthetic_slices_has_no_effect(real: int, share: float) -> None:
    pooled, shared = (Order(tiny_config(synthetic_share=one), real, 0) for one in (None, share))
    assert shown(pooled, 20) == shown(shared, 20)


def test_the_order_depends_on_the_seed() -> None:
    first, second = (Order(tiny_config(batch=25, seed=seed), 50, 0).draws(0) for seed in (0, 1))
    assert [draw.position for draw in first] != [draw.position for draw in second]


@given(st.integers(1, 20_000), BATCH, st.floats(0.01, 50).map(lambda x: round(x, 2)))
def test_the_budget_is_steps_or_passes_over_all_slices(slices: int, batch: int, epochs: float) -> None:
    assert budget(tiny_config(batch=batch, steps=77), slices) == 77
    steps = budget(tiny_config(batch=batch, steps=77, epochs=epochs), slices)
    assert steps == max(1, math.ceil(np.round(epochs * 100) * slices / batch / 100))
