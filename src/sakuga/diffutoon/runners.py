"""SDVideoPipelineRunner: runs a config of Diffutoon. A subclass may have its own ``load_pipeline``, as people do."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sakuga.diffutoon.managers import ModelManager
from sakuga.diffutoon.pipelines import ControlNetConfigUnit, SDVideoPipeline
from sakuga.errors import JobError, nearest_name, raise_all
from sakuga.report import Report
from sakuga.spec.diffutoon import STAGES, read_old
from sakuga.spec.diffutoon_keys import MODELS as KEYS

if TYPE_CHECKING:
    import torch

DTYPES = {"torch.float16": "fp16", "torch.float32": "fp32", "torch.bfloat16": "bf16"}
MODELS = frozenset(key.name for key in KEYS)
LEFT_OUT: dict[str, Any] = {
    "textual_inversion_folder": None,
    "device": "cuda",
    "lora_alphas": [],
    "controlnet_units": [],
}


class SDVideoPipelineRunner:
    """Runs configs. ``in_streamlit`` is accepted and changes nothing."""

    def __init__(self, in_streamlit: bool = False) -> None:
        self.in_streamlit = in_streamlit

    def load_pipeline(
        self,
        model_list: Sequence[str],
        textual_inversion_folder: str | None,
        device: str,
        lora_alphas: Sequence[float],
        controlnet_units: Sequence[Mapping[str, Any]],
        lora_units: Sequence[Mapping[str, Any]] = [],
    ) -> tuple[ModelManager, SDVideoPipeline]:
        """The models and the pipeline of a config's ``models``."""
        import torch

        model_manager = ModelManager(torch_dtype=torch.float16, device=device)
        model_manager.load_models(model_list)
        for unit in lora_units:
            model_manager.load_lora(unit["model_path"], lora_alpha=unit.get("scale", 1.0))
        units = [ControlNetConfigUnit(unit["processor_id"], unit["model_path"], unit["scale"])
                 for unit in controlnet_units]  # fmt: skip
        pipe = SDVideoPipeline.from_model_manager(model_manager, units)
        pipe.prompter.load_textual_inversions(textual_inversion_folder)
        return model_manager, pipe

    def run(self, config: Mapping[str, Any]) -> Report:
        """Render a config, or the pair ``{"config_stage_1": …, "config_stage_2": …}``; print and return the Report.

        The config is not changed; what an earlier run left in its folder is replaced, as in 1.x. Raises what is wrong
        with it, all together.
        """
        if not isinstance(config, Mapping):
            raise JobError(
                "this is not a config",
                given=repr(config)[:80],
                expected="a dict with models, data and pipeline",
                do="read the file first: json.load(open(…))",
            )
        pair = [name for name in STAGES if isinstance(config.get(name), Mapping)]
        read_old({**config, **{name: self._own(config[name]) for name in pair}} if pair else self._own(config))
        if pair:
            told = {name: self._prepared(config[name]) for name in pair}
            data: dict[str, Any] = {**config, **{name: one for name, (one, _) in told.items()}}
            dtype = told[pair[-1]][1]
        else:
            data, dtype = self._prepared(config)
        report = rendered(data, dtype, given=config)
        print(report.text())
        return report

    def _own(self, config: Mapping[str, Any]) -> Mapping[str, Any]:
        """The config without what only a ``load_pipeline`` of one's own takes. Raises JobError for what none takes."""
        if not isinstance(config.get("models"), Mapping):
            return config
        models = {**LEFT_OUT, **config["models"]}
        taken = _check_arguments(self.load_pipeline, models)
        own = {name: value for name, value in models.items() if name in MODELS or name not in taken}
        return {**config, "models": own}

    def _prepared(self, config: Mapping[str, Any]) -> tuple[dict[str, Any], torch.dtype | None]:
        """The config with the models that ``load_pipeline`` chose, and the number format that it asked for."""
        models = {**LEFT_OUT, **config["models"]}
        loaded = self.load_pipeline(**models)
        if not isinstance(loaded, tuple) or not isinstance(loaded[-1], SDVideoPipeline):
            raise JobError(
                "load_pipeline gives no pipeline",
                given=repr(loaded)[:80],
                expected="a ModelManager and the SDVideoPipeline that was made of it",
                do="end it with: return model_manager, pipe",
            )
        manager, pipe = loaded
        return {**config, "models": {"lora_alphas": models["lora_alphas"], **pipe.models()}}, manager.torch_dtype


def rendered(
    config: Mapping[str, Any], torch_dtype: torch.dtype | None, given: Mapping[str, Any] | None = None
) -> Report:
    """Render a config in a number format. ``given``: what is written as config.json, the config itself if None."""
    from dataclasses import replace

    from sakuga.render.old import written_from
    from sakuga.render.studio import Studio

    overrides = ["overwrite=true"]
    if torch_dtype is not None:
        overrides.append(f"dtype={DTYPES.get(str(torch_dtype), str(torch_dtype))}")
    written = written_from(config, overrides=overrides)
    assert written.origin is not None
    origin = written.origin if given is None else replace(written.origin, config=dict(given))
    with Studio() as studio:
        return studio.render(written.job, origin=origin)


def _check_arguments(load_pipeline: Any, models: Mapping[str, Any]) -> frozenset[str]:
    """The arguments that ``load_pipeline`` takes. Raises JobError for a key of ``models`` that is none of them."""
    parameters = inspect.signature(load_pipeline).parameters
    if any(one.kind is inspect.Parameter.VAR_KEYWORD for one in parameters.values()):
        return frozenset({*parameters, *models})
    errors = [
        JobError(
            f"load_pipeline takes no {name!r}",
            given=name,
            expected="one of " + ", ".join(parameters),
            nearest=nearest_name(name, parameters),
        ).at(f"models.{name}")
        for name in models
        if name not in parameters
    ]
    raise_all(errors)
    return frozenset(parameters)
