"""Prompts against diffusers' own encoding, and everything that diffusers' pipeline does not have."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import StableDiffusionPipeline

from sakuga.errors import FileProblem, JobError
from sakuga.models.bundle import Bundle
from sakuga.models.chunks import Style, rows_of
from sakuga.models.device import Placement
from sakuga.models.embedding import Embedding, load_embedding
from sakuga.models.library import Library
from sakuga.models.load import load_base
from sakuga.models.prompts import encode, encode_pair
from sakuga.models.tokenizer import clip_tokenizer, tokenizer_at

Save = Callable[[str, Mapping[str, Any]], Path]
PLAIN = "best quality, perfect anime illustration, light, a girl is dancing, smile, solo"
BOS, EOS = 49406, 49407


@pytest.fixture(scope="module")
def base(checkpoint_file: Path, cpu: Placement) -> Bundle:
    return load_base(checkpoint_file, Library(folders=()), cpu)


def digest(base: Bundle) -> str:
    total = hashlib.sha256()
    for tensor in base.text_encoder.state_dict().values():
        total.update(tensor.numpy().tobytes())
    return total.hexdigest()


def tokens(text: str, embeddings: tuple[Embedding, ...] = (), style: Style = "a1111") -> list[list[int]]:
    return [[slot.token for slot in row] for row in rows_of(text, clip_tokenizer(), embeddings, 77, style)]


@pytest.mark.parametrize("clip_skip", [1, 2, 3])
def test_plain_prompts_are_diffusers(base: Bundle, clip_skip: int, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = base.text_encoder
    monkeypatch.setattr(
        type(encoder), "text_model", property(lambda self: self), raising=False
    )  # what diffusers looks for
    pipe = StableDiffusionPipeline(
        vae=None,
        text_encoder=encoder,
        tokenizer=base.tokenizer,
        unet=None,
        scheduler=None,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    for text in (PLAIN, "", "a cat " * 37):
        theirs, _ = pipe.encode_prompt(text, "cpu", 1, False, clip_skip=None if clip_skip == 1 else clip_skip - 1)
        ours = encode(base, text, clip_skip=clip_skip)
        assert ours.states.shape == (1, 77, 16) and ours.states.dtype == torch.float32
        assert torch.allclose(ours.states, theirs, rtol=1e-5, atol=1e-6)


def test_clip_skip_beyond_the_layers(base: Bundle) -> None:
    with pytest.raises(JobError, match="beyond the layers") as caught:
        encode(base, "x", clip_skip=4)
    assert caught.value.expected is not None and caught.value.expected.startswith("1 … 3")


def test_tokens_of_the_vendored_vocabulary(bundle_folder: Path) -> None:
    assert tokens("a photo of a cat")[0][:8] == [BOS, 320, 1125, 539, 320, 2368, EOS, EOS]
    golden = [949, 3027, 267, 1878, 6469, 6052, 267, 1395, 267, 320, 1611, 533, 6226, 267, 3490, 267, 5797]
    assert tokens(PLAIN)[0] == [BOS, *golden, *[EOS] * 59]
    tokenizer = clip_tokenizer()
    assert len(tokenizer) == 49408 and tokenizer.model_max_length == 77
    assert tokenizer("Ünïcödé 日本 🎨!?").input_ids[1:-1], "every byte has a token"
    assert tokenizer_at(bundle_folder / "tokenizer") is tokenizer, "a folder without one gets ours"


def test_tokenizer_of_a_folder(tmp_path: Path) -> None:
    clip_tokenizer().save_pretrained(tmp_path)
    own = tokenizer_at(tmp_path)
    assert own is not clip_tokenizer()
    assert own(PLAIN).input_ids == clip_tokenizer()(PLAIN).input_ids and own.model_max_length == 77


def test_long_prompts_are_whole_rows(base: Bundle) -> None:
    words = "cat " * 150
    assert [len(row) for row in tokens(words)] == [77, 77]
    for row in tokens(words):
        assert row[0] == BOS and row[-1] == EOS and set(row[1:-1]) == {2368}
    assert len(tokens("cat " * 75)) == 1 and len(tokens("cat " * 76)) == 2
    assert tokens("cat " * 76)[1][:3] == [BOS, 2368, EOS]
    both = encode(base, words)
    assert both.states.shape == (1, 154, 16) and both.used.rows == 2 and len(both.used.tokens) == 150
    assert torch.equal(both.states[:, :77], encode(base, "cat " * 75).states)


def test_pairs_have_the_same_length(base: Bundle) -> None:
    long, short = encode_pair(base, "cat " * 80, "dog")
    assert long.states.shape == short.states.shape == (1, 154, 16)
    assert torch.equal(short.states[:, 77:], encode(base, "").states)
    short, long = encode_pair(base, "dog", "cat " * 80)
    assert long.states.shape == short.states.shape


def test_emphasis_scales_and_keeps_the_mean(base: Bundle) -> None:
    plain, loud = encode(base, "a red cat").states, encode(base, "a (red:1.5) cat").states
    weights = torch.ones(77)
    weights[2] = 1.5
    scaled = plain * weights[None, :, None]
    assert torch.allclose(loud, scaled * (plain.mean() / scaled.mean()), rtol=1e-6)
    assert torch.allclose(loud.mean(), plain.mean(), rtol=1e-5)
    assert torch.equal(encode(base, "a (red:1.0) cat").states, plain)
    assert torch.equal(encode(base, r"a \(red\) cat").states, encode(base, r"a (\(red\):1) cat").states)


def test_emphasis_without_a_mean_to_keep(base: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(base.text_encoder._modules, "final_layer_norm", torch.nn.LayerNorm(16).requires_grad_(False))
    plain, loud = encode(base, "a red cat").states, encode(base, "a (red:1.5) cat").states
    assert torch.equal(loud[:, 3:], plain[:, 3:]) and torch.equal(loud[:, 2], 1.5 * plain[:, 2])


def make(save: Save, name: str, vectors: torch.Tensor, key: str = "emb_params") -> Embedding:
    return load_embedding(save(f"{name}.safetensors", {key: vectors}))


def test_embeddings_take_their_place_and_leave_no_trace(base: Bundle, save: Save) -> None:
    before = digest(base)
    table = base.text_encoder.embeddings.token_embedding.weight
    cat = make(save, "feline", table[2368].detach().clone())  # the very vector of "cat"
    with_name = encode(base, "a photo of a feline, smile", embeddings=(cat,))
    assert torch.allclose(with_name.states, encode(base, "a photo of a cat, smile").states, rtol=1e-5, atol=1e-6)
    assert with_name.used.embeddings == ("feline",) and "feline_0" in with_name.used.tokens
    assert digest(base) == before and table.shape == (49408, 16) and not base.text_encoder._forward_hooks
    assert not base.text_encoder.embeddings.token_embedding._forward_hooks
    two = make(save, "pair", table[[2368, 320]].detach().clone())
    assert torch.allclose(
        encode(base, "PAIR smile", embeddings=(two, cat)).states, encode(base, "cat a smile").states, atol=1e-6
    )
    bos_like = make(save, "quiet", torch.zeros(3, 16))
    assert encode(base, "smile", embeddings=(bos_like,)).used.embeddings == ()
    (base_states, _), (louder, _) = (encode(base, text, embeddings=(cat,)) for text in ("a feline", "a (feline:1.3)"))
    assert not torch.equal(base_states, louder)


def test_hook_is_gone_after_an_error(base: Bundle, save: Save, monkeypatch: pytest.MonkeyPatch) -> None:
    cat = make(save, "feline", torch.zeros(16))
    monkeypatch.setitem(base.text_encoder._modules, "final_layer_norm", None)
    with pytest.raises(AttributeError):
        encode(base, "feline", embeddings=(cat,))
    assert not base.text_encoder.embeddings.token_embedding._forward_hooks


def names_found(text: str, *embeddings: Embedding) -> list[str]:
    slots = [slot for row in rows_of(text, clip_tokenizer(), embeddings, 77) for slot in row]
    return [slot.embedding.name for slot in slots if slot.embedding and slot.vector == 0]


def test_names_are_whole_words_and_the_longest_wins(save: Save) -> None:
    ink, inky, bad = (make(save, name, torch.zeros(16)) for name in ("ink", "ink style", "bad-hands-5"))
    token = make(save, "learned_embeds", torch.zeros(2, 16), key="<cat-toy>")
    assert names_found("inked ink, pink ink.", ink) == ["ink", "ink"]
    assert names_found("an ink style, ink", ink, inky) == ["ink style", "ink"]
    assert names_found("(Bad-Hands-5:1.2), bad-hands-55", bad) == ["bad-hands-5"]
    assert names_found("a <cat-toy>, learned_embeds", token) == ["learned_embeds", "learned_embeds"]
    assert token.names == ("learned_embeds", "<cat-toy>")
    other = make(save, "more/INK", torch.zeros(16))
    with pytest.raises(JobError, match="one name"):
        names_found("ink", ink, other)


def test_vectors_of_one_embedding_stay_in_one_row(save: Save) -> None:
    long = make(save, "long", torch.zeros(10, 16))
    rows = rows_of("cat " * 70 + "long", clip_tokenizer(), (long,), 77)
    assert [sum(slot.embedding is not None for slot in row) for row in rows] == [0, 10]
    with pytest.raises(FileProblem, match="longer than a prompt"):
        rows_of("long", clip_tokenizer(), (make(save, "long", torch.zeros(76, 16)),), 77)


def test_embedding_of_another_width(base: Bundle, save: Save) -> None:
    with pytest.raises(FileProblem, match="for a text encoder of another width") as caught:
        encode(base, "x", embeddings=(make(save, "wide", torch.zeros(2, 768)),))
    assert caught.value.given == "vectors of width 768"


def test_layouts_of_embeddings(save: Save) -> None:
    vectors = torch.randn(3, 16)
    old = torch.nn.ParameterDict({"*": torch.nn.Parameter(vectors)})
    a1111 = {"string_to_token": {"*": 265}, "string_to_param": {"*": vectors}, "name": "x", "step": 100}
    files = [
        save("a.pt", a1111),
        save("b.pt", {**a1111, "string_to_param": old}),
        save("c.safetensors", {"emb_params": vectors}),
        save("d.bin", {"<d>": vectors}),
        save("e.safetensors", {"<e>": vectors}),
        save("f.safetensors", {"clip_l": vectors, "clip_g": torch.zeros(3, 20)}),
    ]
    for path in files:
        found = load_embedding(path)
        assert torch.equal(found.vectors, vectors) and found.name == path.stem
    assert [one.key for one in load_embedding(files[-1]).source.leftovers] == ["clip_g"]
    assert load_embedding(save("g.pt", {"<g>": vectors[0]})).vectors.shape == (1, 16)
    with pytest.raises(FileProblem, match="no usable vectors"):
        load_embedding(save("h.safetensors", {"emb_params": torch.tensor([float("nan")] * 16)}))
    with pytest.raises(FileProblem, match="more than one"):
        load_embedding(save("i.pt", {"string_to_param": {"*": vectors, "+": vectors}}))
    with pytest.raises(FileProblem, match="not an embedding"):
        load_embedding(save("j.safetensors", {"lora_unet_x.lora_down.weight": vectors}))


def test_plain_is_one_tokenisation_cut_every_77(base: Bundle) -> None:
    """DiffSynth 1.x: BOS in the first row alone, EOS as padding behind the last token."""
    assert [len(tokens("word " * count, style="plain")) for count in (0, 75, 76, 152, 153)] == [1, 1, 2, 2, 3]
    first, second = tokens("word " * 100, style="plain")
    assert first[0] == BOS and EOS not in first and BOS not in second
    assert second[:24] == [first[1]] * 24 and set(second[24:]) == {EOS}
    assert tokens(PLAIN, style="plain") == tokens(PLAIN), "a short prompt is the same in both styles"


def test_plain_reads_every_sign(base: Bundle) -> None:
    text = "a (red:1.2) cat <lora:ink:0.8> ((("
    (row,) = tokens(text, style="plain")
    inner = clip_tokenizer()(text, add_special_tokens=False).input_ids
    assert row[1 : 1 + len(inner)] == inner
    used = encode(base, text, style="plain").used
    assert len(used.tokens) == len(inner) and used.rows == 1


def test_plain_prompts_keep_their_own_length(base: Bundle) -> None:
    """Padding with further rows is not without effect, so a pair is not brought to one length."""
    positive, negative = encode_pair(base, "word " * 100, "bad", style="plain")
    assert (positive.states.shape[1], negative.states.shape[1]) == (154, 77)
    assert len(positive.used.tokens) == 100


def test_plain_embeddings_are_bounded_and_the_longest_wins(save: Save) -> None:
    bad = load_embedding(save("bad.pt", {"string_to_param": {"*": torch.zeros(2, 16)}, "name": "bad"}))
    worse = load_embedding(save("bad hands.pt", {"string_to_param": {"*": torch.zeros(3, 16)}, "name": "bad hands"}))

    def places(text: str) -> list[str]:
        rows = rows_of(text, clip_tokenizer(), (bad, worse), 77, "plain")
        return [f"{slot.embedding.name}_{slot.vector}" for row in rows for slot in row if slot.embedding]

    assert places("ugly, bad") == ["bad_0", "bad_1"]
    assert places("bad hands") == ["bad hands_0", "bad hands_1", "bad hands_2"]
    assert places("badly, sinbad") == [], "DiffSynth 1.x tore these words apart"
    assert len(places("word " * 75 + "bad")) == 2, "vectors may lie in two rows"
