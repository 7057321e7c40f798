import base64
import io
import math
import re
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from run_folders import SYMBOLS, read, rows_of, write_jsonl, write_run

from fl_core.errors import InputError
from testbed.report.html import write_report


@pytest.fixture(scope="module")
def reported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "demo"
    write_run(folder, references=("ideal", "noiseless", "conventional", "digital", "local"))
    write_report(folder)
    return folder


def test_the_table_holds_the_last_evaluation_of_every_scheme(reported: Path) -> None:
    page = read(reported / "report.html")
    labels = {
        "over the air": reported,
        "ideal": reported / "references/ideal",
        "sparsified, noiseless": reported / "references/noiseless",
        "conventional FL": reported / "references/conventional",
        "digital": reported / "references/digital",
        "local only": reported / "references/local",
    }
    for label, folder in labels.items():
        last = rows_of(folder / "evaluations.jsonl")[-1]
        _, _, heldout, train, gap, uses, failed = page.row(label)
        assert heldout == f"{100 * last['heldout']['accuracy']:.1f} ± 0.4"
        assert train == f"{100 * last['train']['accuracy']:.1f} ± 0.4"
        assert gap == f"{100 * last['gap']:.1f} ± {100 * math.hypot(0.004, 0.004):.1f}"
        assert uses == (f"{last['channel_uses']:,}" if last["channel_uses"] else "–")
        flags = [r.get("failed") for r in rows_of(folder / "rounds.jsonl")] if last["round"] else []
        assert failed == ("–" if None in flags or not flags else str(sum(flags)))


def test_the_verdict_names_the_distance_to_ideal_and_to_local(reported: Path) -> None:
    final = {
        scheme: rows_of(folder / "evaluations.jsonl")[-1]["heldout"]["accuracy"]
        for scheme, folder in {
            "air": reported,
            "ideal": reported / "references/ideal",
            "local": reported / "references/local",
        }.items()
    }
    text = " ".join(read(reported / "report.html").text.split())
    assert f"new devices reach {100 * final['air']:.1f} ± 0.4 % accuracy after 60 rounds" in text
    assert f"{100 * (final['ideal'] - final['air']):.1f} points behind ideal" in text
    assert f"{100 * (final['air'] - final['local']):.1f} points better than local only" in text


def test_facts_are_medians_and_means_of_the_rounds(reported: Path) -> None:
    rows = rows_of(reported / "rounds.jsonl")
    text = read(reported / "report.html").text
    assert f"{np.median([r['nmse_db'] for r in rows]):.1f} dB".replace("-", "−") in text
    assert f"{100 * np.mean([r['participation'] for r in rows]):.1f} %" in text
    assert f"{SYMBOLS:,}" in text and "28,485" in text


def test_the_page_stands_alone(reported: Path) -> None:
    page = read(reported / "report.html")
    assert page.references and all(r.startswith("data:image/png;base64,") for r in page.references)
    assert not page.tags & {"script", "link", "iframe", "object"}
    assert not re.search(r"@import|url\(|https?:", (reported / "report.html").read_text())


def test_embedded_figures_are_the_files_and_decode(reported: Path) -> None:
    files = {path.read_bytes() for path in (reported / "figures").glob("*.png")}
    embedded = [
        base64.b64decode(source.partition(",")[2])
        for source in read(reported / "report.html").references
    ]
    assert set(embedded) == files and len(embedded) == len(files) == 7
    for content in embedded:
        with Image.open(io.BytesIO(content)) as picture:
            picture.load()
            assert min(picture.size) > 400
            assert picture.convert("L").getextrema()[0] < 120  # something dark is drawn on it


def test_configuration_and_versions_are_on_the_page(reported: Path) -> None:
    page = read(reported / "report.html")
    assert (reported / "config.yaml").read_text().strip() in page.text
    assert page.row("torch")[1] == "2.13.0" and page.row("git_revision")[1] == "0123abc"


def test_writing_again_gives_the_same_bytes_and_leaves_nothing_behind(reported: Path) -> None:
    before = {p: p.read_bytes() for p in reported.rglob("*") if p.is_file()}
    write_report(reported)
    assert {p: p.read_bytes() for p in reported.rglob("*") if p.is_file()} == before


def test_airtime_figure_leaves_out_what_sends_nothing_and_says_so(reported: Path) -> None:
    text = read(reported / "report.html").text
    assert "nothing is sent over a channel: ideal and sparsified, noiseless." in text


def test_nmse_caption_gives_the_median_offset(reported: Path) -> None:
    rows = rows_of(reported / "rounds.jsonl")
    offset = np.median([r["nmse_db"] - r["nmse_predicted_db"] for r in rows])
    text = read(reported / "report.html").text
    assert f"median {offset:+.2f} dB over {len(rows)} rounds" in text


def test_a_run_that_has_just_begun_has_a_page_with_its_name_escaped(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run")
    for name in ("rounds.jsonl", "evaluations.jsonl", "timings.jsonl", "summary.json"):
        (folder / name).unlink()
    (folder / "references" / "ideal").mkdir(parents=True)
    config = yaml.safe_load((folder / "config.yaml").read_text()) | {"name": "<script>x</script>"}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    page = read(write_report(folder))
    text = " ".join(page.text.split())
    assert "Unfinished run: 0 of 60 rounds are on record. Nothing has been evaluated yet." in text
    assert page.references == [] and "script" not in page.tags


def test_a_run_of_one_round_has_a_report(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", rounds=6)
    for name in ("rounds.jsonl", "evaluations.jsonl", "timings.jsonl"):
        write_jsonl(folder / name, rows_of(folder / name)[:1])
    assert len(read(write_report(folder)).references) >= 5


def test_regression_is_reported_as_loss(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", regression=True, references=("ideal", "local"))
    last = rows_of(folder / "evaluations.jsonl")[-1]
    page = read(write_report(folder))
    row = page.row("over the air")
    assert row[2] == f"{last['heldout']['loss']:.4f} ± 0.0100"
    assert row[4].startswith(f"{last['heldout']['loss'] - last['train']['loss']:.4f}")
    assert "accuracy" not in page.text
    assert (folder / "figures" / "loss_rounds.png").exists()


def test_a_main_run_without_air_and_a_local_one_have_reports(tmp_path: Path) -> None:
    for scheme in ("ideal", "local"):
        folder = write_run(tmp_path / scheme, scheme=scheme, rounds=12)
        assert not (write_report(folder).parent / "figures" / "nmse.png").exists()


def test_a_folder_that_is_not_there_or_cannot_be_written_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere"):
        write_report(tmp_path / "nowhere")
    folder = write_run(tmp_path / "run", scheme="local")
    (folder / "figures").write_text("in the way")
    with pytest.raises(InputError, match="cannot write the report"):
        write_report(folder)
    assert not (folder / "report.html").exists()
