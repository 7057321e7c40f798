import math

import numpy as np
import pytest
import torch

from fl_core.evaluation import Adaptation, draw_tasks, score_tasks, summarise
from fl_core.models import ModuleModel, mlp
from fl_core.tasks import build_family, stack


@pytest.fixture(scope="module")
def glyphs():
    return build_family(
        "glyphs", num_devices=4, num_new_devices=3, ways=3, shots=2, queries=4, seed=0
    )


def test_scores_are_those_of_a_plain_loop(glyphs):
    module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(784, 3))
    model = ModuleModel(module, "classification")
    params = model.init(torch.Generator().manual_seed(0))
    tasks = draw_tasks(glyphs.heldout, "test", 0, range(6))
    scores = score_tasks(model, params, stack(tasks), Adaptation(lr=0.1, steps=2))
    for task, (accuracy, loss) in zip(tasks, scores, strict=True):
        weight = params[: 784 * 3].view(3, 784).clone().requires_grad_()
        bias = params[784 * 3 :].clone().requires_grad_()
        for _ in range(2):
            logits = task.support_x.flatten(1) @ weight.T + bias
            step = torch.autograd.grad(
                torch.nn.functional.cross_entropy(logits, task.support_y), (weight, bias)
            )
            weight = (weight - 0.1 * step[0]).detach().requires_grad_()
            bias = (bias - 0.1 * step[1]).detach().requires_grad_()
        logits = task.query_x.flatten(1) @ weight.T + bias
        expected = torch.nn.functional.cross_entropy(logits, task.query_y)
        assert loss == pytest.approx(expected.item(), rel=1e-4)
        assert accuracy == pytest.approx((logits.argmax(1) == task.query_y).double().mean().item())


def test_adaptation_helps_and_zero_steps_do_not(glyphs):
    model = mlp((1, 28, 28), 3)
    params = model.init(torch.Generator().manual_seed(0))
    episode = stack(draw_tasks(glyphs.train, "test", 0, range(40)))
    before = score_tasks(model, params, episode, Adaptation(0.1, 0))[:, 0].mean()
    after = score_tasks(model, params, episode, Adaptation(0.1, 20))[:, 0].mean()
    assert before == pytest.approx(1 / 3, abs=0.08)
    assert after > before + 0.15


def test_tasks_are_dealt_to_all_devices_and_do_not_depend_on_their_number(glyphs):
    long = draw_tasks(glyphs.train, "test", 3, range(8))
    part = draw_tasks(glyphs.train, "test", 3, range(5, 8))
    for a, b in zip(long[5:], part, strict=True):
        assert torch.equal(a.support_x, b.support_x)
    other = draw_tasks(glyphs.train, "another purpose", 3, range(1))[0]
    assert not torch.equal(long[0].support_x, other.support_x)


def test_regression_has_no_accuracy():
    family = build_family(
        "sinusoid", num_devices=4, num_new_devices=3, ways=2, shots=5, queries=6, seed=0
    )
    model = mlp((1,), 1, kind="regression")
    params = model.init(torch.Generator().manual_seed(0))
    episode = stack(draw_tasks(family.train, "test", 0, range(5)))
    scores = score_tasks(model, params, episode, Adaptation(0.01, 1))
    score = summarise([scores])
    assert score.accuracy is None
    assert score.accuracy_ci95 is None
    assert score.loss == pytest.approx(scores[:, 1].mean())


def test_confidence_interval_against_closed_form_and_coverage():
    rng = np.random.default_rng(0)
    scores = rng.standard_normal((500, 2))
    score = summarise([scores[:200], scores[200:]])
    assert score.tasks == 500
    assert score.accuracy == pytest.approx(scores[:, 0].mean())
    assert score.loss_ci95 == pytest.approx(1.96 * np.std(scores[:, 1], ddof=1) / math.sqrt(500))
    covered = 0
    for _ in range(400):
        score = summarise([rng.standard_normal((100, 2))])
        covered += abs(score.loss) <= score.loss_ci95
    assert 0.92 * 400 < covered < 0.98 * 400
