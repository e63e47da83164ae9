"""A look at the files that an old config names: what each is, how long the clips are, what lies in the folder.

Headers only. What is wrong goes to the key that it is about, so that all of it is told together; the rules that need
to know how long a clip is are here too.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sakuga.errors import DeviceError, SakugaError
from sakuga.models.detect import recognise
from sakuga.models.device import available, resolve
from sakuga.models.library import Library
from sakuga.models.signatures import spoken
from sakuga.render.check_clips import found as clip_path
from sakuga.spec.diffutoon import Old
from sakuga.spec.diffutoon_found import Found, name_of
from sakuga.spec.plain import MODEL_ENDINGS
from sakuga.video.read import open_clip

EMBEDDINGS = (".pt", ".bin", ".pth", ".safetensors")


def look(old: Old, library: Library, folder: Path | None, *, without: int | None = None) -> Found | None:
    """What the files of a config are; None if that cannot be told, problems are in ``old.errors``.

    ``without``: a source that is not there yet, because another stage will draw it.
    """
    looking = _Looking(old, library, folder)
    before = len(old.errors)
    looking.models()
    looking.loras()
    looking.sources(without)
    embeddings, device = looking.embeddings(), looking.device()
    if len(old.errors) > before:
        return None
    return Found(roles=looking.roles, files=looking.files, sources=looking.clips, embeddings=embeddings, device=device)


class _Looking:
    def __init__(self, old: Old, library: Library, folder: Path | None) -> None:
        self.old, self.library, self.folder = old, library, folder
        self.roles: dict[str, str] = {}
        self.files: dict[str, str] = {}
        self.clips: dict[str, tuple[str, int]] = {}

    def models(self) -> None:
        """Every entry of model_list, and that each unit names a ControlNet among them."""
        for number, entry in enumerate(self.old.models.get("model_list") or ()):
            role = self._role(f"models.model_list.{number}", entry)
            if role is not None:
                self.roles[entry] = role
        for number, unit in enumerate(self.old.models.get("controlnet_units") or ()):
            role = self.roles.get(unit["model_path"])
            if role not in (None, "control"):
                self._not(f"models.controlnet_units.{number}.model_path", unit["model_path"], str(role), "control")

    def loras(self) -> None:
        """Every file of lora_units."""
        for number, unit in enumerate(self.old.models.get("lora_units") or ()):
            path = f"models.lora_units.{number}.model_path"
            role = self._role(path, unit["model_path"])
            if role not in (None, "adapter"):
                self._not(path, unit["model_path"], str(role), "adapter")

    def _not(self, path: str, given: str, role: str, wanted: str) -> None:
        self.old.fail(path, f"{Path(given).name} does not belong here", given=spoken(role), expected=spoken(wanted),
                      do="choose another file")  # fmt: skip

    def _role(self, path: str, entry: str | None) -> str | None:
        """What a file is; None, and a problem, if it is not there or of no kind that is known."""
        if entry is None:
            return None
        try:
            written_as_path = "/" in entry or "\\" in entry or entry.lower().endswith(MODEL_ENDINGS)
            there = self._there(entry) if written_as_path else None
            self.files[entry] = entry if there is None else str(there)
            return recognise(self.library.find_any(self.files[entry])).role
        except SakugaError as error:
            self.old.errors.append(error.at(self.old.prefix + path))
            return None

    def _there(self, text: str) -> Path | None:
        """Where a path leads: from the working directory, else from the config's folder; None: nowhere."""
        path = Path(text).expanduser()
        if path.exists():
            return path
        if self.folder is not None and (self.folder / path).exists():
            return self.folder / path
        return None

    def sources(self, without: int | None) -> None:
        """Every clip: that it is there, has the frames, and as many as the others."""
        data = self.old.data
        counts = {"data.input_frames": self._source("data.input_frames", data.get("input_frames"))}
        for number, source in enumerate(data.get("controlnet_frames") or ()):
            if number != without:
                path = f"data.controlnet_frames.{number}"
                counts[path] = self._source(path, source)
        wanted = counts.pop("data.input_frames")
        for path, count in counts.items():
            known = count is None or wanted is None or self.old.failed(f"{path}.end_frame_id")
            if not known and count != wanted:
                self.old.fail(
                    f"{path}.end_frame_id",
                    "the sources of a job have one number of frames",
                    given=f"{count} frames, and data.input_frames has {wanted}",
                    expected=f"{wanted} frames",
                    do="choose the frames of both with start_frame_id and end_frame_id",
                )

    def _source(self, path: str, source: Mapping[str, Any] | None) -> int | None:
        """How many frames a source has; None, and a problem, if it cannot give them."""
        if source is None or name_of(source) is None:
            return None  # told already
        given = str(name_of(source))
        key = "video_file" if source["video_file"] is not None else "image_folder"
        if given not in self.clips:
            try:
                found = self._clip(given)
                with open_clip(clip_path(found)) as clip:
                    self.clips[given] = (str(found), clip.frame_count)
            except SakugaError as error:
                self.old.errors.append(error.at(f"{self.old.prefix}{path}.{key}"))
                return None
        if self.old.failed(f"{path}.start_frame_id") or self.old.failed(f"{path}.end_frame_id"):
            return None
        length = self.clips[given][1]
        start, end = source["start_frame_id"] or 0, source["end_frame_id"]
        name, last = ("start_frame_id", start + 1) if end is None or start >= length else ("end_frame_id", end)
        if last > length:
            self.old.fail(
                f"{path}.{name}",
                "the clip is too short",
                given=f"{name} {start if name.startswith('start') else end}",
                expected=f"at most {length - 1 if name.startswith('start') else length}: {Path(given).name} has "
                f"{length} frames",
                do=f"set {name} to null for {'its beginning' if name.startswith('start') else 'its end'}",
            )
            return None
        return int((length if end is None else end) - start)

    def _clip(self, given: str) -> Path:
        path = Path(given).expanduser()
        if not path.exists() and self.folder is not None and (self.folder / path).exists():
            return self.folder / path
        return path

    def embeddings(self) -> tuple[str, ...]:
        """The files of the folder of textual inversions."""
        given = self.old.models.get("textual_inversion_folder")
        if given is None:
            return ()
        path = self._there(given) or Path(given)
        if not path.is_dir():
            self.old.fail(
                "models.textual_inversion_folder",
                "there is no such folder",
                given=given,
                expected="a folder of textual inversions, which may be empty, or null for none",
                do="make it, or set null",
            )
            return ()
        return tuple(str(file) for file in sorted(path.iterdir()) if file.suffix in EMBEDDINGS)

    def device(self) -> str:
        """What is computed on: what was asked for if it is there, else what there is, which is told."""
        given, path = self.old.models.get("device") or "auto", "models.device"
        try:
            resolve(given)
        except DeviceError:
            if given.split(":")[0] not in ("cuda", "mps"):
                expected = f"cuda, {', '.join(available())}"
                self.old.fail(path, "no such device", given=given, expected=expected, do='write "cuda" or "cpu"')
            has = available()[0]
            self.old.note(path, f"this machine has no {given}: computed on {has}")
            return "auto"
        return str(given)
