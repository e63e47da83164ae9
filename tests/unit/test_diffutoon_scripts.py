"""Old scripts: their configs are read as literals; nothing of a script is ever run."""

from __future__ import annotations

from pathlib import Path
from pprint import pformat

import pytest
from tests.old_configs import old, pair

from sakuga.errors import JobError, SakugaError
from sakuga.render.old import written_of
from sakuga.spec.diffutoon_literals import read_literals

HEAD = "from diffsynth import SDVideoPipelineRunner, download_models\nimport os\ndownload_models(['x'])\n"
TAIL = "runner = SDVideoPipelineRunner()\nrunner.run(config)\n"


def script(path: Path, text: str) -> Path:
    file = path / "old.py"
    file.write_text(text, encoding="utf-8")
    return file


def test_the_config_of_a_script_is_read(tmp_path: Path) -> None:
    file = script(tmp_path, f"{HEAD}config = {pformat(old())}\nconfig['pipeline']['seed'] = 7\n{TAIL}")
    written = written_of(file)
    assert written is not None and written.job.seed == 7


def test_both_configs_of_the_two_stage_script_are_read_and_the_glue_is_named(tmp_path: Path) -> None:
    both = pair()
    glue = (
        'config_stage_2["data"]["controlnet_frames"][0]["video_file"] = '
        'os.path.join(config_stage_1["data"]["output_folder"], "video.mp4")\n'
        'config_stage_2["data"]["controlnet_frames"][0]["start_frame_id"] = None\n'
        'config_stage_2["data"]["controlnet_frames"][0]["end_frame_id"] = None\n'
    )
    text = "".join(f"{name} = {pformat(config)}\n" for name, config in both.items())
    written = written_of(script(tmp_path, HEAD + text + "runner.run(config_stage_1)\n" + glue))
    assert written is not None and written.origin is not None and len(written.job.stages) == 2
    assert any("os.path.join" in note.reason for note in written.origin.notes)


def test_nothing_of_a_script_is_run(tmp_path: Path) -> None:
    there = tmp_path / "run"
    evil = f"open({str(there)!r}, 'w').write('x')\nconfig = {pformat(old())}\n__import__('os').remove('x')\n"
    assert written_of(script(tmp_path, evil)) is not None
    assert not there.exists()
    with pytest.raises(JobError, match="not plain"):
        read_literals(f"config = {{'data': open({str(there)!r}, 'w')}}", "old.py")
    assert not there.exists()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("config = {", "line 1"),
        ("x = 3", "no table"),
        ("config = {'data': {'fps': fps()}}", "fps()"),
        ("config = {**other, 'data': 3}", "not plain"),
        ("a = {'data': {}, 'models': {}}\nb = {'data': {}, 'models': {}}", "a, b"),
        ("config = {'data': b'x'}", "not plain"),
        ("(" * 3000, "cannot be read"),
    ],
)
def test_a_script_that_says_something_else_is_refused(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(SakugaError) as raised:
        written_of(script(tmp_path, text))
    assert words in str(raised.value)


def test_names_copies_and_places_in_a_script() -> None:
    text = """
size: int = 512
config = {"data": {"fps": 30, "width": size, "shift": -1}}
other = config.copy()
config["data"]["fps"] = 60
config["data"]["nothing"]["here"] = 1
config["gone"][0] = 1
"""
    found = read_literals(text, "old.py")
    assert found.values["config"]["data"] == {"fps": 60, "width": 512, "shift": -1}
    assert found.values["other"]["data"] is found.values["config"]["data"], "a copy is as shallow as Python's own"
    assert len(found.left) == 2


def test_a_missing_script_names_its_neighbour(tmp_path: Path) -> None:
    script(tmp_path, "")
    with pytest.raises(JobError, match=r"old\.py"):
        written_of(tmp_path / "odl.py")
