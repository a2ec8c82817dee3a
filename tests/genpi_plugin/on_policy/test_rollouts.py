"""The student's answers: drawn from its own distribution, each for itself, kept on disk."""

from __future__ import annotations

import pytest
import torch
from transformers import GenerationConfig

from genpi_plugin.args import OnPolicySettings
from genpi_plugin.on_policy.rollouts import Student, random_of
from genpi_plugin.on_policy.store import Rollout, RolloutStore
from tests.genpi_plugin.teacher.test_teacher import with_random_adapter

LIMIT = 12
# A start that is worth caching, and rests of different lengths.
START = list(range(40, 90))
REQUESTS = [[*START, *range(100, 100 + 3 * length)] for length in (1, 4, 2, 7, 3)]
NAMES = [(7, f"row{place}", 0) for place in range(len(REQUESTS))]
ENDS = list(range(2, 512, 17))


def student(temperature=1.0, batch_size=32, seed=3):
    settings = OnPolicySettings(
        temperature=temperature, max_new_tokens=LIMIT, batch_size=batch_size
    )
    return Student(settings, ENDS, 0, seed)


def answered(model, by):
    found = {}
    by.answer(model, REQUESTS, NAMES, found.__setitem__)
    return [found[place] for place in range(len(REQUESTS))]


def plain(model, request, name, temperature, seed=3):
    """One answer by whole forward passes, without cache, padding or neighbours."""
    draw, ids = random_of(seed, "answer", *name), []
    while len(ids) < LIMIT and (not ids or ids[-1] not in ENDS):
        with torch.no_grad():
            logits = model(torch.tensor([[*request, *ids]]), use_cache=False).logits[0, -1]
        if temperature == 0:
            ids.append(int(logits.argmax()))
            continue
        probabilities = (logits / temperature).softmax(-1).double()
        point, total = draw.random() * float(probabilities.sum()), 0.0
        for token, probability in enumerate(probabilities.tolist()):
            total += probability
            if total > point:
                ids.append(token)
                break
    return Rollout(ids, cut=ids[-1] not in ENDS)


@pytest.mark.parametrize("temperature", [0.0, 0.7, 1.0])
def test_answers_are_those_of_plain_forwards(temperature):
    model = with_random_adapter()
    # What a model's folder recommends does not count.
    model.get_base_model().generation_config = GenerationConfig(
        do_sample=True, temperature=0.1, top_k=1, repetition_penalty=3.0
    )
    model.train()
    found = answered(model, student(temperature))
    assert model.training
    assert model.get_base_model().generation_config.top_k == 1
    assert found == [
        plain(model.eval(), request, name, temperature)
        for request, name in zip(REQUESTS, NAMES, strict=True)
    ]
    if temperature == 1:
        assert {one.cut for one in found} == {True, False}, "both kinds of end are to be seen"


def test_an_answer_does_not_depend_on_those_beside_it():
    model = with_random_adapter()
    assert answered(model, student(batch_size=2)) == answered(model, student())
    assert answered(model, student(seed=4)) != answered(model, student())


def test_a_student_is_known_by_its_weights_its_base_model_and_how_it_answers():
    model = with_random_adapter()
    weights, how = Student.weights(model), student().how
    assert how == student(batch_size=2).how
    base = Student(student().settings, ENDS, 0, 3, base="another")
    others = [student(temperature=0.5), student(seed=4), base]
    assert how not in {one.how for one in others}
    with torch.no_grad():
        next(p for p in model.parameters() if p.requires_grad).view(-1)[0] += 1e-6
    assert weights != Student.weights(model)


def test_answers_of_another_student_are_not_kept(tmp_path):
    store = RolloutStore(tmp_path)
    given = [Rollout([5, 6, 2], cut=False), Rollout([5], cut=True)]
    for step in (4, 6):
        store.begin(step, "how", "one", first=True)
        store.put(step, "row", given)
    store.begin(4, "how", "one", first=True)
    assert store.get(4, "row") == given
    assert store.get(4, "another") is None
    # Within the window the student is another, but its answers of the start are meant.
    store.begin(4, "how", "two", first=False)
    assert store.get(4, "row") == given
    store.begin(4, "how", "two", first=True)
    assert store.get(4, "row") is None
    store.begin(6, "otherwise", "two", first=False)
    assert store.get(6, "row") is None
    assert len(list((tmp_path / "step-000006").glob("*/*.json"))) == 0
