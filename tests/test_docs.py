"""What the documents say is so: links lead somewhere, requirements have reasons, counts and help pages are right."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)(?:\s+\"[^\"]*\")?\)")
IMAGE_TAG = re.compile(r"<(?:img|source|video)[^>]*?\bsrc=\"([^\"]+)\"")
MACHINE_PATH = re.compile(r"(?<![\w.$<>])/(?:root|home|Users|work|opt|tmp|mnt|workspace)/[\w.-]+")
# Hosts of package registries, without their dots, so that this file does not name one either.
REGISTRIES = [
    host.replace(" ", ".")
    for host in (
        "pypi org",
        "pythonhosted org",
        "deb debian org",
        "npmjs org",
        "download pytorch org",
        "crates io",
    )
]
IMPORTED_AS = {"pillow": "PIL", "opencv-python-headless": "cv2", "PyYAML": "yaml", "lycoris-lora": "lycoris"}
MOST_REQUIREMENTS = 12
MAX_FILE_BYTES = 16 * 2**20
TEXT_SUFFIXES = {".md", ".py", ".toml", ".yaml", ".yml", ".json", ".txt", ".cfg", ".ini", ".lock", ".sh", ""}


def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def name_of(requirement: str) -> str:
    return re.split(r"[<>=!~\[; ]", requirement)[0]


def imported(folder: Path) -> set[str]:
    """The top names of all imports below ``folder`` that are neither Python's own nor ours."""
    found = set()
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            found |= {name.split(".")[0] for name in names}
    return found - set(sys.stdlib_module_names) - {"sakuga"}


def anchors(page: Path) -> set[str]:
    """The names of the headings of a page, as a browser's address writes them."""
    titles = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_every_link_leads_somewhere(own_files: list[Path]) -> None:
    pages = [path for path in own_files if path.suffix == ".md"]
    broken = []
    for page in pages:
        text = page.read_text(encoding="utf-8")
        for link in LINK.findall(text) + IMAGE_TAG.findall(text):
            if re.match(r"[a-z]+:", link):
                continue
            name, _, anchor = link.partition("#")
            target = page.parent / name if name else page
            if not target.exists():
                broken.append(f"{page.relative_to(ROOT)}: {link}")
            elif anchor and anchor not in anchors(target):
                broken.append(f"{page.relative_to(ROOT)}: {link}: no such heading")
            elif target.is_file() and target.stat().st_size == 0:
                broken.append(f"{page.relative_to(ROOT)}: {link}: empty")
    assert not broken, "\n" + "\n".join(broken)


def test_no_file_names_a_machine_or_a_registry(own_files: list[Path]) -> None:
    found = []
    for path in own_files:
        if path.suffix not in TEXT_SUFFIXES:
            continue
        name = path.relative_to(ROOT)
        text = path.read_text(encoding="utf-8")
        found += [f"{name}: {match}" for match in MACHINE_PATH.findall(text) if path != Path(__file__)]
        found += [f"{name}: {host}" for host in REGISTRIES if host in text]
    assert not found, "\n" + "\n".join(found)


def test_no_file_is_empty_or_larger_than_allowed(own_files: list[Path]) -> None:
    sizes = {str(path.relative_to(ROOT)): path.stat().st_size for path in own_files}
    assert [name for name, size in sizes.items() if size == 0 or size > MAX_FILE_BYTES] == []


def test_every_direct_requirement_has_its_reason() -> None:
    project_table = project()["project"]
    wanted = [*project_table["dependencies"], *project_table["optional-dependencies"]["dev"]]
    page = (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8")
    reasons = dict(re.findall(r"^- \*\*([\w-]+)\*\*: (.{40,})", page, re.MULTILINE))
    assert set(reasons) == {name_of(requirement) for requirement in wanted}
    assert len(project_table["dependencies"]) <= MOST_REQUIREMENTS


def test_what_the_package_imports_is_what_it_requires() -> None:
    required = {name_of(requirement) for requirement in project()["project"]["dependencies"]}
    modules = {IMPORTED_AS.get(name, name) for name in required}
    assert imported(ROOT / "src") - modules - {"pydantic_core"} == set(), "imported, not required"
    assert modules - imported(ROOT / "src") == set(), "required, not imported"


@pytest.mark.parametrize("folder", ["starter", "tests", "benchmarks"])
def test_what_stands_beside_the_package_needs_no_more_than_the_set_up(folder: str) -> None:
    project_table = project()["project"]
    wanted = [*project_table["dependencies"], *project_table["optional-dependencies"]["dev"]]
    modules = {IMPORTED_AS.get(name_of(requirement), name_of(requirement)) for requirement in wanted}
    neighbours = {path.stem for path in (ROOT / folder).rglob("*.py")}
    assert imported(ROOT / folder) - modules - neighbours - {folder} == set()


def test_the_lock_file_holds_every_requirement_with_hashes() -> None:
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    pins = re.findall(r"^([\w.-]+)==\S+ \\\n((?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)", lock, re.MULTILINE)
    locked = {name for name, _ in pins}
    assert len(pins) == lock.count("==")
    project_table = project()["project"]
    wanted = [*project_table["dependencies"], *project_table["optional-dependencies"]["dev"]]
    assert {name_of(requirement).lower().replace("_", "-") for requirement in wanted} - locked == {"torch"}
    torch = (ROOT / "requirements-torch.lock").read_text(encoding="utf-8")
    assert re.findall(r"^[^#\n].*", torch, re.MULTILINE) == ["torch==2.13.0"]
    told = re.search(r"holds (\d+) packages", (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8"))
    assert told and int(told[1]) == len(pins) + 1


def test_the_help_pages_are_what_the_program_says() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "docs", "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ["LICENSE", "NOTICE", "README.md", "CHANGELOG.md", "CONTRIBUTING.md"])
def test_what_a_stranger_looks_for_is_there(name: str) -> None:
    assert (ROOT / name).stat().st_size > 200


def test_the_notice_names_what_is_shipped_by_others() -> None:
    notice = (ROOT / "NOTICE").read_text(encoding="utf-8")
    for source in (
        "CLIP",
        "NASA",
        "Blender Foundation",
        "danielbuechele",
        "vultilion",
        "OpenCV",
        "Ren'Py",
        "Real-ESRGAN",
    ):
        assert source in notice, source


def test_decisions_are_numbered_without_gaps() -> None:
    numbers = sorted(int(path.name[:4]) for path in (ROOT / "docs" / "decisions").glob("*.md"))
    assert numbers == list(range(1, len(numbers) + 1))


@pytest.mark.parametrize("text", ["see /root/models", "in /home/ann/clips", "/tmp/x/out.mp4", "(/opt/wheels)"])
def test_a_machine_path_is_found(text: str) -> None:
    assert MACHINE_PATH.search(text)


@pytest.mark.parametrize("text", ["src/work/x", "PYTHON=/path/to/python3", "https://example.org/home/x", "~/models"])
def test_what_is_no_machine_path_is_left(text: str) -> None:
    assert not MACHINE_PATH.search(text)
