"""Two stages of Diffutoon on the starter: the first gives the clip other colours, the second draws it with those.

    sakuga render examples/diffutoon/toon_with_editing.py

reads the two configs below and renders both as one job. The script is read, not run; run by Python, it does the same.
"""

from sakuga.diffutoon import SDVideoPipelineRunner

clip = {
    "video_file": "demo",
    "image_folder": None,
    "height": 192,
    "width": 256,
    "start_frame_id": 0,
    "end_frame_id": 8,
}

config_stage_1 = {
    "models": {
        "model_list": ["starter", "lineart", "tile"],
        "textual_inversion_folder": None,
        "device": "cuda",
        "lora_alphas": [],
        "controlnet_units": [
            {"processor_id": "lineart", "model_path": "lineart", "scale": 1.0},
            {"processor_id": "tile", "model_path": "tile", "scale": 1.0},
        ],
        "lora_units": [{"model_path": "ink", "scale": -0.2}],
    },
    "data": {
        "input_frames": clip,
        "controlnet_frames": [clip, clip],
        "output_folder": "out/editing/color_video",
        "fps": 12,
    },
    "smoother_configs": [{"processor_type": "FastBlend", "config": {"window_size": 4}}],
    "pipeline": {
        "seed": 0,
        "pipeline_inputs": {
            "prompt": "flat paint",
            "negative_prompt": "line drawing",
            "cfg_scale": 1.6,
            "clip_skip": 1,
            "denoising_strength": 1.0,
            "num_inference_steps": 1,
            "animatediff_batch_size": 8,
            "animatediff_stride": 4,
            "unet_batch_size": 8,
            "controlnet_batch_size": 8,
            "cross_frame_attention": True,
            "smoother_progress_ids": [-1],
        },
    },
}

config_stage_2 = {
    "models": {
        "model_list": ["starter", "starter_motion", "tile", "lineart"],
        "textual_inversion_folder": None,
        "device": "cuda",
        "lora_alphas": [],
        "controlnet_units": [
            {"processor_id": "tile", "model_path": "tile", "scale": 1.0},
            {"processor_id": "lineart", "model_path": "lineart", "scale": 1.0},
        ],
        "lora_units": [
            {"model_path": "celcomic", "scale": 1.0},
            {"model_path": "ink", "scale": 0.2},
        ],
    },
    "data": {
        "input_frames": clip,
        "controlnet_frames": [clip, clip],
        "output_folder": "out/editing/edited_video",
        "fps": 12,
    },
    "pipeline": {
        "seed": 0,
        "pipeline_inputs": {
            "prompt": "flat colours, clean ink lines",
            "negative_prompt": "",
            "cfg_scale": 1.0,
            "clip_skip": 1,
            "denoising_strength": 1.0,
            "num_inference_steps": 1,
            "animatediff_batch_size": 8,
            "animatediff_stride": 4,
        },
    },
}

if __name__ == "__main__":
    runner = SDVideoPipelineRunner(in_streamlit=False)
    runner.run({"config_stage_1": config_stage_1, "config_stage_2": config_stage_2})
