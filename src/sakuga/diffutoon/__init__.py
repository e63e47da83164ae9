"""The old surface of Diffutoon: scripts for DiffSynth 1.x run with only their import line changed.

    from sakuga.diffutoon import ModelManager, SDVideoPipelineRunner, SDVideoPipeline, ControlNetConfigUnit, VideoData

It is thin: everything becomes a Job, and a Studio renders it. New work is better written as a Job. Nothing here keeps a
model in memory; files are named until something is rendered.
"""

from __future__ import annotations

from sakuga.diffutoon.clips import VideoData, save_frames, save_video
from sakuga.diffutoon.managers import ModelManager
from sakuga.diffutoon.pipelines import ControlNetConfigUnit, SDVideoPipeline
from sakuga.diffutoon.runners import SDVideoPipelineRunner

__all__ = [
    "ControlNetConfigUnit",
    "ModelManager",
    "SDVideoPipeline",
    "SDVideoPipelineRunner",
    "VideoData",
    "save_frames",
    "save_video",
]
