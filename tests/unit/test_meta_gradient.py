import pytest
import torch
from torch.func import functional_call
from torch.nn import functional as F  # noqa: N812

from fl_core.device import local_update
from fl_core.meta_gradient import adapt, meta_gradient
from fl_core.models import Conv4, ModuleModel, conv4_module, mlp
from fl_core.tasks.episode import Episode

ADAPT_LR = 0.4


def image_episode(tasks, ways, shots, queries, seed=0):
    generator = torch.Generator().manual_seed(seed)

    def draw(count):
        x = torch.rand(tasks, ways * count, 1, 28, 28, generator=generator, dtype=torch.float64)
        return x, torch.arange(ways).repeat(tasks, count)

    return Episode(*draw(shots), *draw(queries))


def curve_episode(tasks, seed=0, points=6):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(2, tasks, points, 2, generator=generator, dtype=torch.float64)
    y = torch.sin(x.sum(-1, keepdim=True))
    return Episode(x[0], y[0], x[1], y[1])


def some_params(model, tasks=None, seed=0):
    """Perturbed, so that scales and biases are not at their special initial values."""
    generator = torch.Generator().manual_seed(seed)
    params = model.init(generator).double()
    shape = params.shape if tasks is None else (tasks, *params.shape)
    return params + 0.1 * torch.randn(shape, generator=generator, dtype=torch.float64)


def autograd_loss(module, params, x, y):
    named = dict(module.named_parameters())
    pieces = params.split([p.numel() for p in named.values()])
    state = {n: q.view(p.shape) for (n, p), q in zip(named.items(), pieces, strict=True)}
    outputs = functional_call(module, state, (x,))
    return F.cross_entropy(outputs, y) if y.dtype == torch.int64 else F.mse_loss(outputs, y)


def autograd_meta_gradient(module, params, episode, variant):
    """One task at a time, by autograd through the adaptation step."""
    gradients, losses = [], []
    for task in range(len(episode.support_x)):
        theta = (params if params.dim() == 1 else params[task]).clone().requires_grad_()
        support = episode.support_x[task], episode.support_y[task]
        query = episode.query_x[task], episode.query_y[task]
        if variant == "plain":
            both = [torch.cat(pair) for pair in zip(support, query, strict=True)]
            loss = autograd_loss(module, theta, *both)
        else:
            exact = variant == "exact"
            inner = autograd_loss(module, theta, *support)
            (step,) = torch.autograd.grad(inner, theta, create_graph=exact)
            loss = autograd_loss(module, theta - ADAPT_LR * step, *query)
        gradients += torch.autograd.grad(loss, theta)
        losses.append(loss.detach())
    return torch.stack(gradients), torch.stack(losses)


def relative_error(value, reference):
    return float((value - reference).norm() / reference.norm())


@pytest.mark.parametrize("variant", ["exact", "first_order", "plain"])
@pytest.mark.parametrize("shared", [True, False], ids=["shared", "per task"])
@pytest.mark.parametrize("build", [Conv4, ModuleModel])
@pytest.mark.parametrize(
    ("strides", "width", "ways", "shots", "queries"),
    [
        ((2, 2, 2, 2), 8, 3, 2, 1),
        ((2, 2, 2, 2), 32, 5, 1, 3),
        ((2, 2, 1, 1), 8, 5, 1, 3),
        ((2, 1, 2, 1), 5, 3, 1, 1),
        ((2, 2, 2, 1), 5, 2, 2, 1),
        ((1, 2, 2, 1), 4, 2, 1, 1),
        ((1, 1, 1, 2), 3, 2, 1, 1),
    ],
)
def test_agrees_with_autograd_through_the_adaptation(
    strides, width, ways, shots, queries, build, shared, variant
):
    module = conv4_module(ways, width, strides).double()
    model = Conv4(ways, width, strides)
    if build is ModuleModel:
        model = ModuleModel(module, "classification")
    params = some_params(model, None if shared else 2)
    episode = image_episode(2, ways, shots, queries)
    expected, expected_loss = autograd_meta_gradient(module, params, episode, variant)
    result = meta_gradient(model, params, episode, ADAPT_LR, variant)
    assert relative_error(result.gradient, expected) < 1e-10
    assert relative_error(result.loss, expected_loss) < 1e-10


def test_hessian_vector_product_is_the_derivative_of_the_gradient():
    model, episode = mlp((2,), 1, (9, 9), "tanh", "regression"), curve_episode(3)
    params = some_params(model, 3)
    x, y = episode.support_x, episode.support_y
    direction = torch.randn(params.shape, generator=torch.Generator().manual_seed(5)).double()
    step = 1e-4
    _, ahead = model.loss_and_gradient(params + step * direction, x, y)
    _, behind = model.loss_and_gradient(params - step * direction, x, y)
    there = model.linearise(params, x, y)
    assert relative_error(there.hvp(direction), (ahead - behind) / (2 * step)) < 1e-6
    torch.testing.assert_close(there.hvp(2 * direction), 2 * there.hvp(direction))
    loss, gradient = model.loss_and_gradient(params, x, y)
    torch.testing.assert_close(there.loss, loss)
    torch.testing.assert_close(there.gradient, gradient)


def test_hessian_free_tends_to_exact_on_a_smooth_net():
    model, episode = mlp((2,), 1, (9, 9), "tanh", "regression"), curve_episode(4)
    params = some_params(model)
    exact = meta_gradient(model, params, episode, 0.1).gradient
    errors = [
        relative_error(
            meta_gradient(model, params, episode, 0.1, "hessian_free", difference).gradient, exact
        )
        for difference in (1e-1, 1e-2, 1e-3)
    ]
    # A central difference is of second order: a tenth of the step, a hundredth of the error.
    assert errors[0] / errors[1] == pytest.approx(100, rel=0.2)
    assert errors[1] / errors[2] == pytest.approx(100, rel=0.2)


@pytest.mark.parametrize("steps", [0, 1, 4])
def test_adaptation_takes_so_many_gradient_steps(steps):
    model, episode = mlp((2,), 1, (6,), "tanh", "regression"), curve_episode(3)
    params = some_params(model)
    adapted = adapt(model, params, episode.support_x, episode.support_y, 0.1, steps)
    assert adapted.shape == (3, model.dim)
    for task in range(3):
        expected = params.clone().requires_grad_()
        for _ in range(steps):
            x, y = episode.support_x[task], episode.support_y[task]
            loss = autograd_loss(model.module, expected, x, y)
            expected = expected - 0.1 * torch.autograd.grad(loss, expected)[0]
        torch.testing.assert_close(adapted[task], expected.detach())


@pytest.mark.parametrize("variant", ["exact", "first_order", "plain"])
@pytest.mark.parametrize("tasks_per_step", [1, 2])
def test_local_update_is_the_sum_of_each_devices_steps(tasks_per_step, variant):
    model = mlp((2,), 1, (6,), "tanh", "regression")
    params, devices, meta_lr = some_params(model), 3, 0.2
    episodes = [curve_episode(devices * tasks_per_step, seed) for seed in range(3)]
    update = local_update(model, params, episodes, ADAPT_LR, meta_lr, variant, tasks_per_step)
    assert update.delta.shape == (devices, model.dim)
    for device in range(devices):
        theta, losses = params, []
        own = slice(device * tasks_per_step, (device + 1) * tasks_per_step)
        for episode in episodes:
            mine = Episode(*(getattr(episode, name)[own] for name in Episode.__annotations__))
            gradient, loss = autograd_meta_gradient(model.module, theta, mine, variant)
            theta = theta - meta_lr * gradient.mean(dim=0)
            losses.append(loss.mean())
        torch.testing.assert_close(update.delta[device], params - theta)
        torch.testing.assert_close(update.loss[device], torch.stack(losses).mean())


def test_a_device_learns_the_same_in_any_company():
    model = Conv4(3, 8)
    params = some_params(model)
    episode = image_episode(4, 3, 1, 2)
    last_two = Episode(*(getattr(episode, name)[2:] for name in Episode.__annotations__))
    together = local_update(model, params, [episode, episode], ADAPT_LR, 0.1).delta
    apart = local_update(model, params, [last_two, last_two], ADAPT_LR, 0.1).delta
    assert relative_error(apart, together[2:]) < 1e-12


def test_the_same_call_gives_the_same_bytes():
    model = Conv4(5, 16)
    params = model.init(torch.Generator().manual_seed(0))
    double = image_episode(3, 5, 1, 1)
    episode = Episode(
        double.support_x.float(), double.support_y, double.query_x.float(), double.query_y
    )
    first, second = (local_update(model, params, [episode] * 2, ADAPT_LR, 0.1) for _ in range(2))
    assert torch.equal(first.delta, second.delta)
    assert torch.equal(first.loss, second.loss)


def test_mistakes_are_named():
    model, episode = mlp((2,), 1, (3,), kind="regression"), curve_episode(3)
    params = some_params(model)
    with pytest.raises(ValueError, match="use 'exact'"):
        meta_gradient(model, params, episode, 0.1, "second_order")
    with pytest.raises(ValueError, match="0 or more"):
        adapt(model, params, episode.support_x, episode.support_y, 0.1, -1)
    with pytest.raises(ValueError, match="no episode"):
        local_update(model, params, [], 0.1, 0.1)
    with pytest.raises(ValueError, match="divisor of the 3 tasks"):
        local_update(model, params, [episode], 0.1, 0.1, tasks_per_step=2)
