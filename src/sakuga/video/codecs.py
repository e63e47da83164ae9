"""Codecs: how a video of a name is encoded, from what the user wants of codec and quality. Decides, encodes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from sakuga.errors import OutputError, nearest_name
from sakuga.video.outputs import steady_x264

Quality = int | Literal["lossless"]
LOSSLESS = "lossless"


@dataclass(frozen=True, kw_only=True)
class Codec:
    """``containers`` by suffix; ``default`` and ``worst`` quality, smaller is better; None: it has no such number.

    ``odd``: the format of odd sizes, None where halved colours are kept.
    """

    name: str
    encoder: str
    containers: tuple[str, ...]
    pix_fmt: str
    odd: str | None
    options: Mapping[str, str]
    default: int | None
    worst: int
    lossless: tuple[str, str, Mapping[str, str]] | None  # encoder, format, options


CODECS = {
    codec.name: codec
    for codec in (
        Codec(
            name="h264",
            encoder="libx264",
            containers=(".mp4", ".mov", ".mkv"),
            pix_fmt="yuv420p",
            odd="yuv444p",
            options={"preset": "medium"},
            default=16,
            worst=51,
            lossless=("libx264rgb", "rgb24", {"qp": "0", "preset": "medium"}),
        ),
        Codec(
            name="vp9",
            encoder="libvpx-vp9",
            containers=(".webm", ".mkv", ".mp4"),
            pix_fmt="yuv420p",
            odd=None,
            options={"b": "0", "row-mt": "1", "cpu-used": "2"},
            default=18,
            worst=63,
            lossless=("libvpx-vp9", "gbrp", {"lossless": "1", "row-mt": "1", "cpu-used": "2"}),
        ),
        Codec(
            name="av1",
            encoder="libsvtav1",
            containers=(".mp4", ".mkv", ".webm"),
            pix_fmt="yuv420p10le",
            odd=None,
            options={"preset": "7"},
            default=24,
            worst=63,
            lossless=None,
        ),
        Codec(
            name="prores",
            encoder="prores_ks",
            containers=(".mov", ".mkv"),
            pix_fmt="yuv422p10le",
            odd=None,
            options={"profile": "hq"},
            default=None,
            worst=0,
            lossless=None,
        ),
        Codec(
            name="ffv1",
            encoder="ffv1",
            containers=(".mkv",),
            pix_fmt="bgr0",
            odd="bgr0",
            options={"level": "3", "slicecrc": "1"},
            default=None,
            worst=0,
            lossless=("ffv1", "bgr0", {"level": "3", "slicecrc": "1"}),
        ),
    )
}
USUAL = {".mp4": "h264", ".mov": "h264", ".mkv": "h264", ".webm": "vp9"}


@dataclass(frozen=True, kw_only=True)
class Encoding:
    """What the encoder is told. ``rgb``: colours stay red, green and blue."""

    codec: str
    encoder: str
    pix_fmt: str
    options: Mapping[str, str]
    rgb: bool = False
    notes: tuple[str, ...] = field(default_factory=tuple)


def encoding(suffix: str, size: tuple[int, int], codec: str | None = None, quality: Quality | None = None) -> Encoding:
    """The encoding of a video whose name ends so. Raises ``OutputError`` for what the container or codec cannot do."""
    suffix = suffix.lower()
    chosen = CODECS[codec or USUAL[suffix]]
    if suffix not in chosen.containers:
        others = [one.name for one in CODECS.values() if suffix in one.containers]
        raise OutputError(
            f"a {suffix} file does not hold {chosen.name}",
            given=f"codec {chosen.name}, a name in {suffix}",
            expected=f"{', '.join(others)} for {suffix}, or a name in {', '.join(chosen.containers)}",
            do=f"leave codec out, or name the output {chosen.containers[0]}",
        )
    if isinstance(quality, str):
        if chosen.lossless is None:
            able = ", ".join(one.name for one in CODECS.values() if one.lossless)
            raise OutputError(
                f"{chosen.name} cannot keep every bit",
                given="quality lossless",
                expected=able,
                do="choose one of these",
            )
        encoder, pix_fmt, options = chosen.lossless
        return Encoding(
            codec=chosen.name,
            encoder=encoder,
            pix_fmt=pix_fmt,
            options={**options, **(steady_x264() if chosen.name == "h264" else {})},
            rgb=True,
            notes=("colours are kept as red, green and blue, which some players do not know",)
            if chosen.name != "ffv1"
            else (),
        )
    if quality is not None and (chosen.default is None or quality > chosen.worst):
        raise OutputError(
            f"{chosen.name} has no quality {quality}",
            given=f"quality {quality}",
            expected="no quality" if chosen.default is None else f"0 (best) to {chosen.worst}, or lossless",
            do="leave quality out",
        )
    odd, notes = bool(size[0] % 2 or size[1] % 2), tuple[str, ...]()
    pix_fmt = chosen.odd if odd and chosen.odd else chosen.pix_fmt
    if odd and chosen.name == "h264":
        notes += ("an odd size is kept with full colour resolution (4:4:4), which some players do not know",)
    options = dict(chosen.options)
    if chosen.default is not None:
        options["crf"] = str(chosen.default if quality is None else quality)
    if chosen.name == "h264":
        options |= steady_x264()
    return Encoding(
        codec=chosen.name,
        encoder=chosen.encoder,
        pix_fmt=pix_fmt,
        options=options,
        rgb=chosen.name == "ffv1",
        notes=notes,
    )


def check_codec(suffix: str, codec: str | None, quality: Quality | None) -> None:
    """Raise ``OutputError`` where an output of this name cannot be encoded so, or is no video at all."""
    if codec is not None and codec not in CODECS:
        raise OutputError(
            "there is no such codec",
            given=codec,
            expected=", ".join(CODECS),
            nearest=nearest_name(codec, CODECS),
            do="choose one of these",
        )
    if suffix.lower() in USUAL:
        encoding(suffix, (64, 64), codec, quality)
    elif codec is not None or quality not in (None, LOSSLESS):
        raise OutputError(
            "codec and quality are for these videos",
            given=f"a name in {suffix}" if suffix else "a folder of PNGs",
            expected=", ".join(USUAL),
            do="leave them out, or name the output as a video",
        )
