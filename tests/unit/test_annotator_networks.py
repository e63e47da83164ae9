"""The networks of the annotators: the public layouts, the same numbers as other programs of the same build, files."""

from __future__ import annotations

import re

import pytest
import torch
from safetensors.torch import save_file
from tests.annotator_layouts import LAYOUTS, small, weights

from sakuga.errors import FileProblem
from sakuga.models.annotators import NETWORKS, LoadedNetwork, network_named
from sakuga.models.annotators.files import find_network, load_network
from sakuga.models.annotators.weights import Weights
from sakuga.models.detect import recognise, recognise_keys
from sakuga.models.device import resolve
from sakuga.models.keys import Keys
from sakuga.models.library import Library

# Tensors and millions of numbers (without the counters of batch normalisation) of the public files.
SIZES = {
    "hed": (37, 14.7),
    "lineart": (24, 4.3),
    "lineart_anime": (32, 54.4),
    "midas": (368, 123.1),
    "normalbae": (936, 72.6),
    "body": (184, 52.3),
    "hand": (104, 36.8),
    "face": (104, 38.4),
}
UNUSED = r"num_batches_tracked$|pretrained\.model\.(norm|head)\.|refinenet4\.resConfUnit1\.|original_model\.bn2\."


def close(mine, other):
    assert mine.shape == other.shape
    assert float((mine - other).norm() / other.norm()) < 1e-4


def run(name, tensors, pixels):
    plain = {key.removeprefix("module."): tensor for key, tensor in tensors.items()}
    with torch.no_grad():
        return network_named(name).run(Weights(plain), pixels)


@pytest.mark.parametrize("network", NETWORKS, ids=lambda network: network.name)
def test_the_public_layout_is_known_fits_and_is_used_to_the_last_weight(network):
    shapes = LAYOUTS[network.name]()
    numbers = sum(torch.Size(shape).numel() for name, shape in shapes.items() if "num_batches" not in name) / 1e6
    assert (len(shapes), round(numbers, 1)) == SIZES[network.name]
    known = recognise_keys(Keys(shapes), name=network.file)
    assert (known.role, known.layout) == ("annotator", network.layout)
    used = {known.prefix + name for name in network.tried(Keys(shapes).under(known.prefix).shapes)}
    left = [name for name in shapes if name not in used]
    assert used <= set(shapes) and all(re.search(UNUSED, name) for name in left)


@pytest.mark.parametrize("network", NETWORKS, ids=lambda network: network.name)
def test_a_file_in_the_folder_annotators_is_found_and_loaded(network, tmp_path):
    folder = tmp_path / "models" / "Annotators"
    folder.mkdir(parents=True)
    made = weights(small(network.name))
    torch.save(made, folder / network.file)
    search = find_network(network, Library(folders=(tmp_path / "models",)))
    assert search.path == folder / network.file
    loaded = load_network(network, search.path, resolve("cpu", "fp16"))
    (source,) = loaded.sources
    assert source.used + len(source.leftovers) == len(made)
    assert {left.reason for left in source.leftovers} <= {
        "a counter of the training",
        "a layer of the network that its result does not go through",
    }
    pixels = torch.rand(3, 256, 256) * 255
    close(loaded.part(pixels), run(network.name, made, pixels[None])[0])


def test_half_precision_in_the_file_is_computed_in_float32(tmp_path):
    torch.save({name: tensor.half() for name, tensor in weights(small("hed")).items()}, tmp_path / "ControlNetHED.pth")
    loaded = load_network(network_named("hed"), tmp_path / "ControlNetHED.pth", resolve("cpu", "fp16"))
    assert loaded.part(torch.zeros(3, 64, 64)).dtype == torch.float32


def test_wrapped_files_are_read_too(tmp_path):
    inner = {f"module.{name}": tensor for name, tensor in weights(small("normalbae")).items()}
    torch.save({"model": inner}, tmp_path / "scannet.pt")
    known = recognise(tmp_path / "scannet.pt")
    assert (known.layout, known.prefix) == ("normalbae", "model.module.")
    torch.save({"state_dict": weights(small("hed"))}, tmp_path / "hed.pt")
    assert len(load_network(network_named("hed"), tmp_path / "hed.pt", resolve("cpu")).part.weights.used) == 0


def test_in_annotators_a_file_may_have_any_name_and_container(tmp_path):
    folder = tmp_path / "annotators"
    folder.mkdir()
    save_file(weights(small("face")), folder / "a.safetensors")
    save_file(weights(small("hand")), folder / "b.safetensors")
    torch.save({"x": torch.zeros(2)}, folder / "c.pth")
    library = Library(folders=(folder,))
    assert find_network(network_named("face"), library).path == folder / "a.safetensors"
    assert find_network(network_named("hand"), library).path == folder / "b.safetensors"


def test_the_public_name_comes_first_and_counts_in_every_folder(tmp_path):
    (tmp_path / "Annotators").mkdir()
    (tmp_path / "downloads").mkdir()
    made = weights(small("lineart"))
    torch.save(made, tmp_path / "Annotators" / "a_coarse_one.pth")
    torch.save(made, tmp_path / "downloads" / "sk_model.pth")
    torch.save(made, tmp_path / "downloads" / "elsewhere.pth")
    library = Library(folders=(tmp_path,))
    assert find_network(network_named("lineart"), library).path == tmp_path / "downloads" / "sk_model.pth"
    (tmp_path / "downloads" / "sk_model.pth").unlink()
    assert find_network(network_named("lineart"), library).path == tmp_path / "Annotators" / "a_coarse_one.pth"


def test_without_a_file_is_told_where_was_looked_and_what_was_passed_over(tmp_path):
    folder = tmp_path / "Annotators"
    folder.mkdir()
    torch.save(weights(small("lineart")), folder / "ControlNetHED.pth")
    (folder / "netG.pth").write_text("version https://git-lfs.github.com/spec/v1")
    library = Library(folders=(tmp_path,))
    search = find_network(network_named("hed"), library)
    assert search.path is None and search.looked == (folder,)
    assert f"neither in {folder}" in search.missing
    assert "ControlNetHED.pth is passed over: it is another kind of file" in search.missing
    assert "Git LFS" in find_network(network_named("lineart_anime"), library).missing
    assert "passed over" not in find_network(network_named("midas"), library).missing


@pytest.mark.parametrize("name", ["hed", "lineart", "lineart_anime", "midas", "body"])
def test_a_file_that_is_cut_or_mixed_is_refused_before_it_is_loaded(name):
    network, shapes = network_named(name), small(name)
    plain = {key.removeprefix("module."): shape for key, shape in shapes.items()}
    last = [key for key in plain if key.endswith(".weight") and not re.search(UNUSED, key)][-1]
    with pytest.raises(FileProblem, match="lacks a weight"):
        network.tried({key: shape for key, shape in plain.items() if key != last})
    first, second, *rest = plain[last]
    inner = (first + 1, second) if name == "lineart_anime" else (first, second + 1)  # a transposed one ends it
    with pytest.raises(FileProblem, match="do not make up"):
        network.tried(plain | {last: (*inner, *rest)})
    bias = next(key for key in plain if key.endswith(".bias") and not re.search(UNUSED, key))
    with pytest.raises(FileProblem, match="do not make up"):
        network.tried(plain | {bias: (plain[bias][0] + 1,)})


def test_a_face_is_no_hand():
    with pytest.raises(FileProblem, match="another network") as error:
        network_named("hand").tried(small("face"))
    assert error.value.given == "71 maps" and "hand_pose_model.pth" in str(error.value.expected)


def test_normals_have_length_one():
    made = weights(small("normalbae"))
    shown = run("normalbae", made, torch.rand(1, 3, 64, 96) * 255)
    assert shown.shape == (1, 3, 64, 96)
    assert torch.allclose((shown * 2 - 1).square().sum(dim=1), torch.ones(1, 64, 96), atol=1e-4)


def test_the_networks_of_openpose_look_at_blue_green_red_and_keep_an_eighth():
    made, pixels = weights(small("body")), torch.rand(1, 3, 48, 64) * 255
    maps = run("body", made, pixels)
    assert maps.shape == (1, 57, 6, 8) and float(maps[:, 38:].min()) == 0
    turned = {**made, "conv1_1.weight": made["conv1_1.weight"].flip(1)}
    close(run("body", turned, pixels.flip(1)), maps)


def test_a_loaded_network_asks_for_no_gradients():
    made = {name: tensor.clone().requires_grad_() for name, tensor in weights(small("hed")).items()}
    loaded = LoadedNetwork(network=network_named("hed"), weights=Weights(made), device=torch.device("cpu"))
    assert not loaded(torch.zeros(3, 64, 64)).requires_grad
