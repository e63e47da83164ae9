"""Which reader has to know each layout: a second list by hand beside the table of titles, on purpose."""

from __future__ import annotations

from collections.abc import Mapping

_KOHYA = "K-SD K-XL-sgm K-XL-diff K-OFT K-FLUX K-FLUX2 K-SD3 K-WAN K-WANFUN K-HV K-QWEN K-ZIMG K-MISC"
_BY_READER: Mapping[str, str] = {
    "kohya": f"{_KOHYA} O-LEG O-CASC T-SIMPLE",
    "dotted": "D-UNET D-PEFT P-PEFT P-NAMED S-BARE C-COMFY B-CTRL B-PEFT O-OMI O-DOT A-FLUX A-LOKR T-SIMPLE2",
    "processors": "D-PROC M-AD",
    "XLabs": "X-XLABS X-USO",
    "cloneofsimo": "F-CLONE",
    "HCP-Diffusion": "F-HCP",
}
READERS: Mapping[str, str] = {layout: reader for reader, layouts in _BY_READER.items() for layout in layouts.split()}
