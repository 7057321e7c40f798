import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from fl_core.errors import InputError
from testbed import experiment_file
from testbed.config import ExperimentConfig
from testbed.experiment_file import all_keys, merged, parse_override, read, shipped, validated


def fails(settings, *fragments):
    with pytest.raises(InputError) as caught:
        validated({"name": "x", **settings}, "x.yaml")
    for fragment in ("x.yaml", *fragments):
        assert fragment in str(caught.value)


def test_unknown_key_names_the_nearest():
    fails({"channel": {"snr": 3}}, "channel.snr", "did you mean channel.snr_db?")
    fails({"snr_db": 3}, "snr_db: unknown key", "did you mean channel.snr_db?")
    fails({"chanel": {}}, "did you mean channel?")


def test_unknown_key_without_neighbour_lists_the_valid_ones():
    fails({"power": {"zzzzzzzz": 1}}, "valid are power.policy, power.limit, power.threshold")


@pytest.mark.parametrize(
    ("settings", "fragment"),
    [
        ({"channel": {"snr_db": "loud"}}, "channel.snr_db: input should be a valid number"),
        ({"channel": {"snr_db": float("nan")}}, "channel.snr_db: should be a level in dB"),
        ({"rounds": 2.5}, "rounds"),
        ({"rounds": True}, "rounds"),
        ({"rounds": "3"}, "rounds"),
        ({"seed": -1}, "seed"),
        ({"compression": {"num_symbols": 0}}, "compression.num_symbols"),
        ({"compression": {"ratio": 1.5}}, "compression.ratio"),
        ({"devices": {"num_devices": 5, "num_active": 6}}, "num_active = 6 exceeds num_devices"),
        ({"sparsifier": {"kind": "topp"}}, "did you mean topk?"),
        ({"references": ["ideel"]}, "did you mean ideal?"),
        ({"references": ["air"]}, "references name the scheme itself"),
        ({"model": {"name": "conv4"}, "task": {"family": "sinusoid"}}, "sinusoid wants mlp"),
        ({"channel": 3}, "channel"),
        ({"name": "../up"}, "name"),
        ({"learner": {"meta_lr": 0}}, "learner.meta_lr"),
        ({"power": {"threshold": "aut"}}, "power.threshold: should be an amplitude"),
        ({"power": {"threshold": -0.1}}, "power.threshold: should be an amplitude"),
        ({"power": {"threshold": float("inf")}}, "or auto, got inf"),
        ({"power": {"threshold": True}}, "or auto, got True"),
        ({"power": {"policy": "caped_inversion"}}, "did you mean capped_inversion?"),
    ],
)
def test_wrong_values_name_their_key(settings, fragment):
    fails(settings, fragment)


@pytest.mark.parametrize(("written", "meant"), [("auto", "auto"), ("0", 0.0), ("0.5", 0.5)])
def test_a_threshold_is_a_number_or_auto_and_stays_so_in_a_file(written, meant):
    config = read("demo").config([f"power.threshold={written}"])
    assert config.power.threshold == meant
    again = validated(yaml.safe_load(yaml.safe_dump(config.model_dump(mode="json"))), "again")
    assert again == config


def test_every_mistake_is_named_at_once():
    fails({"rounds": 0, "seed": "x"}, "rounds", "seed")


def test_missing_name():
    with pytest.raises(InputError, match=r"x.yaml: name: field required"):
        validated({}, "x.yaml")


def test_overrides_are_typed_yaml():
    assert parse_override("a.b=1e-3") == ("a.b", 1e-3)
    assert parse_override("a=2") == ("a", 2)
    assert parse_override("a=[x, y]") == ("a", ["x", "y"])
    assert parse_override("a=null") == ("a", None)
    config = read("demo").config(["channel.snr_db=10", "learner.meta_lr=5e-2", "sparsifier.k=7"])
    assert (config.channel.snr_db, config.learner.meta_lr, config.sparsifier.k) == (10, 0.05, 7)


@pytest.mark.parametrize(
    "value", [3, 1e-5, float("inf"), True, None, "3", "a: b", [1, "x"], "0123", "yes", 2.0]
)
def test_overrides_written_and_read_are_the_same(value):
    key, back = parse_override(experiment_file.format_override("a.b", value))
    assert (key, back, type(back)) == ("a.b", value, type(value))


@pytest.mark.parametrize("override", ["rounds", "=3", "rounds=[1"])
def test_malformed_overrides(override):
    with pytest.raises(InputError, match="command line"):
        read("demo").config([override])


def test_override_through_a_value_is_an_error():
    with pytest.raises(InputError, match=r"rounds"):
        read("demo").config(["rounds.per_day=3"])


def test_unknown_experiment_names_the_nearest():
    with pytest.raises(InputError, match=r"did you mean demo\?"):
        read("demmo")


@pytest.mark.parametrize("text", ["a: [1", "just words", "- 1\n- 2", ""])
def test_unreadable_yaml(tmp_path, text):
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=r"bad\.yaml"):
        read(str(path))


def test_missing_and_binary_files(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        read(str(tmp_path / "none.yaml"))
    (tmp_path / "b.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="cannot be read"):
        read(str(tmp_path / "b.yaml"))


def test_base_is_overlaid_section_by_section(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("base: demo\nname: mine\nchannel: {snr_db: 3}\n")
    config, demo = read(str(path)).config(), read("demo").config()
    assert (config.name, config.channel.snr_db) == ("mine", 3)
    assert config.channel.fading == demo.channel.fading
    assert config.task == demo.task


def test_circular_base(tmp_path):
    path = tmp_path / "loop.yaml"
    path.write_text(f"base: {path}\nname: loop\n")
    with pytest.raises(InputError, match="circle"):
        read(str(path))


def test_sweep_section_must_hold_lists(tmp_path):
    path = tmp_path / "s.yaml"
    path.write_text("base: demo\nsweep: {seed: 3}\n")
    with pytest.raises(InputError, match="sweep"):
        read(str(path))


@pytest.mark.parametrize("name", shipped())
def test_shipped_experiments_are_valid_and_described(name):
    source = read(name)
    overrides = [f"{key}={values[0]}" for key, values in source.axes.items()]
    assert source.config(overrides).name == name
    assert shipped()[name]


def test_resolved_configuration_reads_back(tmp_path):
    config = read("demo").config(["channel.snr_db=.inf", "sparsifier.k=12"])
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(config.model_dump(mode="json")))
    assert read(str(path)).config() == config


@given(st.sampled_from(all_keys()))
def test_a_typo_in_any_key_is_caught(key):
    *sections, last = key.split(".")
    with pytest.raises(InputError, match=f"{last}x"):
        read("demo").config([".".join([*sections, f"{last}x"]) + "=1"])


tree = st.recursive(
    st.integers(), lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3)
)
trees = st.dictionaries(st.sampled_from("abc"), tree, max_size=3)


@given(trees, trees)
def test_merging_keeps_what_is_not_overlaid(base, over):
    result = merged(base, over)
    assert set(result) == set(base) | set(over)
    assert merged(result, over) == result
    for key in set(base) - set(over):
        assert result[key] == base[key]


def test_configuration_is_frozen():
    config = ExperimentConfig(name="x")
    with pytest.raises(ValueError, match="frozen"):
        config.rounds = 3
    assert experiment_file.validated({"name": "x"}, "x") == config
