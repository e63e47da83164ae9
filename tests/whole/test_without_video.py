"""Machines without PyAV and OpenCV: models, LoRAs and rendering on plain arrays work as long as no video is touched."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import sakuga

PROGRAM = """
import sys
sys.modules["av"] = sys.modules["cv2"] = None  # every import of them fails from here on

import numpy as np
from sakuga import Job, Progress, Report, Stage
from sakuga.lora.inspect import show
from sakuga.lora.library.names import Names
from sakuga.models.device import resolve
from sakuga.models.library import Library
from sakuga.models.outline import outline
from sakuga.render.annotators import find_annotator
from sakuga.render.parts import PartsKeeper
from sakuga.render.plan import ControlPlan, Plan, SourcePlan, StagePlan
from sakuga.render.settings import settle
from sakuga.render.stage import Shot, render_span
from sakuga.tensors.file import TensorFile
from sakuga.video.colour import fit

library = Library.usual()
base = outline("starter", library)
library = library.including(base.folder)
adapter = Names(library.folders).find("celcomic").path
with TensorFile.open(adapter) as file:
    assert show(file)["family"] == "sd15"

job = Job(source="frames", stages=[Stage(adapters=["celcomic"], controls=["tile"])])
settings = settle(job.stages[0], base.defaults)
control = ControlPlan(
    use=settings.controls[0], annotator=find_annotator("tile"), path=library.find("tile", "control")
)
motion = library.find(settings.motion, "motion") if settings.motion else None
stage = StagePlan(
    settings=settings, adapters=(adapter,), controls=(control,), embeddings=(), motion=motion, vae=None
)
source = SourcePlan(path=job.source, frames=range(2), size=(64, 64), picture=False, content_key="")
plan = Plan(
    job=job, source=source, output=job.source, base=base.path, stages=(stage,), where=resolve("cpu", "fp32")
)
parts = PartsKeeper().stage(plan, 0, library, Report())
pictures = [np.full((64, 64, 3), 80 * n, np.uint8) for n in (1, 2)]
around = fit(64, 64, parts.bundle.multiple)
shot = Shot(
    frames=range(2), times=(0.0, 0.04), clip_length=2, seed=0, fit=around, source=pictures, others={}
)
with parts.stack.applied(parts.bundle.parts) as applied:
    drawn = list(render_span(parts, applied, pictures, shot, Progress()))
print([tuple(frame.shape) for frame in drawn])
"""


def test_an_engine_without_av_and_cv2_loads_models_applies_a_lora_and_draws(tmp_path: Path) -> None:
    source = str(Path(sakuga.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": source},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[(3, 64, 64), (3, 64, 64)]"
