"""Flowgraphs under the GNU Radio that there is: compiled, run, exact, and gone when they end."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from flowgraphs import compiler, runner
from flowgraphs.compiler import compiled, environment
from flowgraphs.grc_file import GrcFile, shipped
from flowgraphs.runner import Flowgraph
from radio.api import RadioError, RadioSettings
from radio.registry import open_radio

pytestmark = pytest.mark.usefixtures("in_gnuradio_home")

IN_FOLDER = {"from_host": "ipc://{folder}/in", "to_host": "ipc://{folder}/out"}
STARTS_AND_IS_KILLED = f"""
import os, signal, sys
from flowgraphs.runner import Flowgraph
graph = Flowgraph("loop", {IN_FOLDER!r} | dict(to_host=f"ipc://{{sys.argv[1]}}"))
print(graph.pid, graph.folder, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def noise(n, seed=0):
    rng = np.random.default_rng(seed)
    return (0.1 * (rng.standard_normal(n) + 1j * rng.standard_normal(n))).astype(np.complex64)


def lives(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def eventually(is_so):
    for _ in range(200):
        if is_so():
            return True
        time.sleep(0.05)
    return False


@pytest.fixture
def edited(tmp_path):
    """A shipped flowgraph with one text of its file replaced."""

    def edit(name, old, new):
        file = GrcFile.named(name)
        assert old in file.text
        path = tmp_path / f"{name}.grc"
        path.write_text(file.text.replace(old, new))
        return str(path)

    return edit


def test_every_flowgraph_compiles_without_a_warning(gnuradio, tmp_path):
    # Besides, those with choices that nothing here runs.
    for name, choice in (("device_tx", "sink"), ("receiver_rx", "source")):
        text = GrcFile.named(name).text_with({choice: "usrp"})
        (tmp_path / f"{name}_usrp.grc").write_text(text)
    sources = [*sorted(tmp_path.glob("*.grc")), *shipped().values()]
    grcc = Path(gnuradio).with_name("grcc")
    done = subprocess.run(
        [gnuradio, str(grcc), "-o", str(tmp_path), *map(str, sources)],
        capture_output=True,
        text=True,
        check=True,
        env=environment(os.environ),
    )
    said = done.stdout + done.stderr
    assert said.count("Generating") == len(sources)
    for word in ("Warning", "Failed", "Error"):
        assert word not in said
    assert {path.stem for path in tmp_path.glob("*.py")} >= shipped().keys()


def test_bursts_of_any_length_pass_exactly_with_their_tags():
    with open_radio("gnuradio://loop") as radio:
        for n in (1, 100, 10_007, 65_536, 300_007):
            iq = noise(n, n)
            radio.transmit(iq, at=radio.now() + 13)
            heard = radio.receive(n + 30)
            np.testing.assert_array_equal(heard.iq[13 : 13 + n], iq)
            assert not heard.iq[:13].any()
            assert not heard.iq[13 + n :].any()
            first = heard.first_sample + 13
            edges = [(tag.offset, tag.key, tag.value) for tag in radio.tags]
            assert edges == [(first, "tx_sob", True), (first + n - 1, "tx_eob", True)]


def test_settings_of_a_radio_are_set_in_the_flowgraph():
    with open_radio("gnuradio://loop?gain_db=-6") as radio:
        radio.configure(RadioSettings(tx_gain_db=-20.0, rx_gain_db=14.0))
        radio.transmit(noise(100))
        heard = radio.receive(100).iq
        np.testing.assert_allclose(heard, noise(100) * 10 ** (-12 / 20), rtol=1e-5)
        assert radio.describe()["gnuradio"].startswith("3.")


def test_a_file_is_heard_as_it_is_until_its_end(tmp_path):
    noise(10_000).tofile(tmp_path / "iq")
    with open_radio(f"gnuradio://receiver_rx?source=file&path={tmp_path / 'iq'}") as radio:
        assert not radio.caps.can_transmit
        np.testing.assert_array_equal(radio.receive(100).iq, noise(10_000)[:100])
        later = radio.receive(2_000, at=5_000)
        np.testing.assert_array_equal(later.iq, noise(10_000)[5_000:7_000])
        assert radio.receive(3_000).first_sample == 7_000
        with pytest.raises(RadioError, match="has no more samples: its source is at its end"):
            radio.receive(1)
    with pytest.raises(
        RadioError, match=r"block source_file \(path = '/no/iq'\): .*can't open file"
    ):
        open_radio("gnuradio://receiver_rx?source=file&path=/no/iq")


def test_nobody_hears_a_null_sink_but_its_clock_goes_on():
    with open_radio("gnuradio://device_tx?sink=null") as radio:
        assert eventually(lambda: radio.now() > 50_000)
        at = radio.now() + 1_000_000
        assert radio.transmit(noise(1_000), at=at).started_at == at
        with pytest.raises(RadioError, match="would overlap"):
            radio.transmit(noise(10), at=at + 999)
        assert radio.transmit(noise(10)).started_at == at + 1_000
        with pytest.raises(RadioError, match=r"only transmits; add one with \+receiver_rx"):
            radio.receive(10)


def test_a_flowgraph_that_is_killed_says_so_and_leaves_nothing():
    with open_radio("gnuradio://loop") as radio:
        radio.receive(10)
        (graph,) = radio._graphs
        os.kill(graph.pid, signal.SIGKILL)
        with pytest.raises(RadioError, match="flowgraph loop was killed by SIGKILL"):
            radio.receive(10)
        with pytest.raises(RadioError, match="was killed by SIGKILL"):
            radio.configure(RadioSettings(rx_gain_db=1.0))
    assert not lives(graph.pid)
    assert not graph.folder.exists()


def test_nothing_is_left_of_it_where_its_starter_is_killed(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", STARTS_AND_IS_KILLED, tmp_path / "out"],
        capture_output=True,
        text=True,
        check=False,
        cwd=runner.HOST.parents[1],
    )
    assert done.returncode == -signal.SIGKILL
    pid, folder = done.stdout.split()
    assert eventually(lambda: not lives(int(pid)))
    assert eventually(lambda: not Path(folder).exists())
    assert not (tmp_path / "out").exists()


def test_one_that_does_not_answer_or_stop_is_told_and_killed(monkeypatch):
    graph = Flowgraph("loop", IN_FOLDER)
    os.kill(graph.pid, signal.SIGSTOP)
    monkeypatch.setattr(runner, "ANSWER_S", 0.1)
    with pytest.raises(RadioError, match="does not answer within"):
        graph.set(gain_db=-3)
    monkeypatch.setattr(runner, "ANSWER_S", 10.0)
    os.kill(graph.pid, signal.SIGCONT)
    with pytest.raises(RadioError, match="refuses gain_db"):  # not the answer to the one before
        graph.set(gain_db=1e9)
    monkeypatch.setattr(runner, "END_S", 0.3)
    os.kill(graph.pid, signal.SIGSTOP)
    graph.stop()
    graph.stop()
    assert not lives(graph.pid)
    assert not graph.folder.exists()


def test_an_address_that_is_taken_is_not_used(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"tcp://127.0.0.1:{other.getsockname()[1]}"
        with pytest.raises(RadioError, match=rf"zmq_out \(to_host = '{address}'\): the address"):
            Flowgraph("loop", {**IN_FOLDER, "to_host": address})
    address = f"ipc://{tmp_path}/out"
    with Flowgraph("loop", {**IN_FOLDER, "to_host": address}):
        with pytest.raises(RadioError, match=f"{address} is taken"):
            Flowgraph("loop", {**IN_FOLDER, "to_host": address})
        assert (tmp_path / "out").exists()
    assert not (tmp_path / "out").exists()
    (tmp_path / "mine").write_text("of value")
    for name, why in (("mine", "is taken"), (200 * "x", "too long"), ("", "is taken")):
        with pytest.raises(RadioError, match=why):
            Flowgraph("loop", {**IN_FOLDER, "to_host": f"ipc://{tmp_path}/{name}"})
    assert (tmp_path / "mine").read_text() == "of value"


def test_a_block_that_is_missing_is_named(edited):
    mine = edited("loop", "id: blocks_multiply_const_vxx", "id: mylab_amplifier")
    with pytest.raises(RadioError, match="cable is of the kind mylab_amplifier, which this GNU"):
        Flowgraph(mine, {})


def test_a_block_that_is_missing_inside_is_named_with_its_file(tmp_path, monkeypatch):
    blocks = shutil.copytree(compiler.BLOCKS, tmp_path / "blocks")
    path = blocks / "device_path.grc"
    path.write_text(path.read_text().replace("id: blocks_delay", "id: mylab_delay"))
    monkeypatch.setattr(compiler, "BLOCKS", blocks)
    with pytest.raises(RadioError, match=f"{path} does not compile: .* the kind mylab_delay"):
        Flowgraph("mac_channel", {})


def test_what_the_compiler_finds_is_told(edited):
    with pytest.raises(RadioError, match=r"does not compile.*name 'gain_dbb' is not defined"):
        Flowgraph(edited("loop", "((gain_db +", "((gain_dbb +"), {})


def test_what_it_does_not_find_is_told_when_it_runs(edited):
    # grcc looks at no snippet.
    mine = edited("loop", "self.zmq_in.set", "self.zmq_inn.set")
    with pytest.raises(RadioError, match=r"loop failed: AttributeError: .*zmq_inn"):
        Flowgraph(mine, IN_FOLDER)


def test_parameters_may_be_complex(edited):
    mine = edited("loop", "type: eng_float", "type: complex")
    with Flowgraph(mine, {**IN_FOLDER, "gain_db": "-3+90j"}) as graph:
        graph.set(gain_db=2j)
        assert graph.values["gain_db"] == 2j


def test_a_radio_that_is_not_there_is_told_with_the_block_that_wants_it():
    with pytest.raises(RadioError, match=r"sink_pluto\w* \(uri = 'ip:127.9.9.9'\): RuntimeError"):
        open_radio("gnuradio://device_tx?sink=pluto&uri=ip:127.9.9.9")


def test_what_cannot_be_set_while_it_runs_is_refused():
    with Flowgraph("device_tx", {"from_host": IN_FOLDER["from_host"]}) as graph:
        graph.set(sample_rate_hz=2e6)
        assert graph.values["sample_rate_hz"] == 2e6
        with pytest.raises(RadioError, match="sink is chosen when it starts"):
            graph.set(sink="pluto")
        with pytest.raises(RadioError, match="no parameter 'rate'"):
            graph.set(rate=1)
    with Flowgraph("loop", IN_FOLDER) as graph:
        with pytest.raises(RadioError, match=r"refuses gain_db = 1000000000.0: OverflowError"):
            graph.set(gain_db=1e9)
        graph.require_running()


def test_a_program_alone_does_what_was_chosen_or_nothing(gnuradio):
    program = compiled(GrcFile.named("device_tx"), {}, os.environ)
    done = subprocess.run(
        [gnuradio, str(program.path), "--sink", "pluto"],
        capture_output=True,
        text=True,
        check=False,
        env=environment(os.environ),
    )
    assert done.returncode == 1
    assert "sink pluto is not enabled: enable the blocks sink_pluto" in done.stderr
