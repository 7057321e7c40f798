import re
from pathlib import Path

import numpy as np
import pytest
from run_folders import rows_of, write_jsonl, write_run

from fl_core.errors import InputError
from testbed.report.html import write_report
from testbed.report.load import load_run


def test_columns_hold_nan_where_nothing_is_known(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", rounds=6)
    rows = rows_of(folder / "rounds.jsonl")
    rows[1]["nmse_db"] = None
    del rows[2]["nmse_db"]
    write_jsonl(folder / "rounds.jsonl", rows)
    column = load_run(folder).column("nmse_db")
    assert np.isnan(column).tolist() == [False, True, True, False, False, False]
    assert column[3] == rows[3]["nmse_db"]


def test_a_half_written_last_line_is_dropped(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", rounds=12)
    for name, kept in (("rounds.jsonl", 11), ("evaluations.jsonl", 6), ("timings.jsonl", 11)):
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[:-9])
        assert len(getattr(load_run(folder), name.partition(".")[0])) == kept


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("config.yaml", None, "config.yaml"),
        ("config.yaml", "a: [1,", "not valid YAML"),
        ("config.yaml", "- 1\n", "mapping"),
        ("manifest.json", '{"a":', "not valid JSON"),
        ("summary.json", "[]", "one JSON object"),
        ("rounds.jsonl", '{"round": 0}\n{"rou\n{"round": 2}\n', "line 2"),
        ("rounds.jsonl", '{"loss": 1.0}\n', "line 1"),
        ("evaluations.jsonl", '{"round": 0}\n', "needs train and heldout"),
    ],
)
def test_a_damaged_folder_is_named_with_its_file(
    tmp_path: Path, name: str, content: str | None, message: str
) -> None:
    folder = write_run(tmp_path / "run", rounds=6)
    (folder / name).unlink()
    if content is not None:
        (folder / name).write_text(content)
    with pytest.raises(InputError, match=re.escape(str(folder / name))) as caught:
        write_report(folder)
    assert message in str(caught.value)
    assert not (folder / "report.html").exists() and not (folder / "figures").exists()
