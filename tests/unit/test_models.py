import pytest
import torch
from torch import nn

from fl_core.models import Conv4, ModuleModel, build_model, conv4_module, mlp
from fl_core.tasks.episode import TaskFamily


class NoDevices:
    def __len__(self):
        return 0

    def sample(self, device, rng):
        raise IndexError(device)


def family(shape, kind, outputs=5):
    return TaskFamily("some tasks", NoDevices(), NoDevices(), shape, outputs, kind)


def images(seed, *leading):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(*leading, 1, 28, 28, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize(("width", "dim"), [(64, 112_261), (32, 28_485)])
def test_conv4_has_the_size_of_the_reference_net(width, dim):
    assert Conv4(5, width).dim == dim
    assert ModuleModel(conv4_module(5, width), "classification").dim == dim


@pytest.mark.parametrize(("strides", "rows"), [((2, 2, 2, 2), 2), ((2, 2, 1, 1), 7)])
def test_conv4_module_is_the_usual_stack_of_torch_layers(strides, rows):
    width, ways = 6, 4
    layers = []
    for channels_in, stride in zip((1, width, width, width), strides, strict=True):
        layers += [
            nn.Conv2d(channels_in, width, 3, stride=stride, padding=1),
            nn.BatchNorm2d(width, track_running_stats=False),
            nn.ReLU(),
        ]
    layers += [nn.AvgPool2d(rows), nn.Flatten(), nn.Linear(width, ways)]
    usual = nn.Sequential(*layers).double()
    ours = conv4_module(ways, width, strides).double()
    with torch.no_grad():
        for mine, theirs in zip(ours.parameters(), usual.parameters(), strict=True):
            mine.copy_(theirs.permute(0, 2, 3, 1) if theirs.dim() == 4 else theirs)
    x = images(0, 7)
    torch.testing.assert_close(ours(x), usual(x), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("strides", [(2, 2, 2, 2), (2, 2, 1, 1), (1, 2, 1, 2)])
@pytest.mark.parametrize("shared", [True, False])
def test_conv4_predicts_as_its_module(shared, strides):
    fast = Conv4(3, 8, strides)
    reference = ModuleModel(conv4_module(3, 8, strides), "classification")
    params = fast.init(torch.Generator().manual_seed(0)).double()
    if not shared:
        params = torch.stack([params, 1.3 * params, 0.7 * params])
    x = images(1, 3, 6)
    expected = reference.predict(params, x)
    assert expected.shape == (3, 6, 3)
    torch.testing.assert_close(fast.predict(params, x), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("strides", [(2, 2, 2, 2), (2, 2, 1, 1)])
def test_float32_agrees_with_float64(strides):
    # Float32 takes the library's generated convolutions, float64 its plain ones.
    model = Conv4(5, 64, strides)
    params = model.init(torch.Generator().manual_seed(0)) * torch.ones(2, 1)
    x, y = images(2, 2, 5), torch.arange(5).repeat(2, 1)
    loss, gradient = model.loss_and_gradient(params, x.float(), y)
    precise_loss, precise = model.loss_and_gradient(params.double(), x, y)
    torch.testing.assert_close(loss.double(), precise_loss, rtol=1e-5, atol=0)
    # ReLUs close to their kink fall on different sides in the two precisions.
    assert (gradient - precise).norm() < 1e-2 * precise.norm()


def test_init_follows_from_its_generator_and_leaves_the_global_one_alone():
    model = Conv4(5, 8)
    reference = ModuleModel(conv4_module(5, 8), "classification")
    before = torch.get_rng_state()
    first = model.init(torch.Generator().manual_seed(3))
    assert torch.equal(first, model.init(torch.Generator().manual_seed(3)))
    assert not torch.equal(first, model.init(torch.Generator().manual_seed(4)))
    assert torch.equal(first, reference.init(torch.Generator().manual_seed(3)))
    assert first.dtype == torch.float32
    assert torch.equal(before, torch.get_rng_state())


def test_regression_loss_is_the_mean_squared_error():
    model = mlp((2,), 3, hidden=(), kind="regression")
    weight = torch.tensor([[1.0, 0], [0, 1], [1, 1]])
    params = torch.cat([weight.flatten(), torch.tensor([0.0, 0, 1])])
    x = torch.tensor([[[1.0, 2], [3, 4]]])
    y = torch.zeros(1, 2, 3)
    loss, gradient = model.loss_and_gradient(params, x, y)
    assert loss.tolist() == pytest.approx([(1 + 4 + 16 + 9 + 16 + 64) / 6])
    assert gradient[0, -3:].tolist() == pytest.approx([2 * 4 / 6, 2 * 6 / 6, 2 * 12 / 6])


def test_build_model_shapes_itself_to_the_family():
    omniglot = family((1, 28, 28), "classification", 20)
    conv4 = build_model("conv4", omniglot, width=16)
    assert (conv4.num_outputs, conv4.width, conv4.strides) == (20, 16, (2, 2, 2, 2))
    assert build_model("conv4", omniglot, strides=(2, 2, 1, 1)).strides == (2, 2, 1, 1)
    sine = build_model("mlp", family((1,), "regression", 1), width=40)
    assert (sine.num_outputs, sine.dim) == (1, 80 + 40 * 41 + 41)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: build_model("conv4", family((1,), "regression")), "use 'mlp'"),
        (lambda: build_model("resnet", family((1,), "regression")), "use 'conv4' or 'mlp'"),
        (lambda: build_model("mlp", family((1,), "regression"), width=0), "at least 1"),
        (lambda: mlp((1,), 1, activation="gelu"), "relu, tanh"),
        (lambda: Conv4(0, 8), "must be positive"),
        (lambda: Conv4(5, 8, (2, 2, 3, 1)), "each 1 or 2"),
        (lambda: Conv4(5, 8, (2, 2)), "give four"),
        (lambda: ModuleModel(nn.ReLU(), "regression"), "no parameters"),
        (lambda: ModuleModel(nn.Linear(1, 1), "ranking"), "use 'classification'"),
    ],
)
def test_mistakes_are_named(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_conv4_refuses_other_images():
    model = Conv4(5, 8)
    params = model.init(torch.Generator().manual_seed(0))
    with pytest.raises(ValueError, match="takes images"):
        model.predict(params, torch.zeros(1, 5, 3, 28, 28))
