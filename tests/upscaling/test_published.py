"""Published weights: what is known before they are loaded, loading, and everything that fails.

The pipelines are tiny and random. The hub is a server on this machine, asked by the hub's own
library, so that its errors are the real ones.
"""

import json
import shutil
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import MagicMock

import pytest
import safetensors.torch
import torch
from torch.testing import assert_close

from course_lib.upscaling import Cancelled, UpscalingError, load
from course_lib.upscaling.latent import (
    LatentDiffusion,
    LatentDiffusionConfig,
    LatentUpscaler,
    parts,
    published,
    resources,
)
from course_lib.upscaling.latent.attention import PeakMemory
from course_lib.upscaling.latent.planning import LARGEST, SPARE, VAE_TILE, activation_bytes
from course_lib.upscaling.latent.published import (
    PublishedError,
    load_published,
    load_upscaler,
    plan,
)

ID, COMMIT = "someone/upscaler", "0123456789abcdef0123456789abcdef01234567"
GB = 10**9
HALF = "unet/diffusion_pytorch_model.fp16.safetensors"
FULL = "unet/diffusion_pytorch_model.safetensors"


def numbers(pipeline) -> int:
    """How many numbers the weights of a pipeline are."""
    networks = (pipeline.vae, pipeline.unet, pipeline.text_encoder)
    return sum(p.numel() for network in networks for p in network.state_dict().values())


@pytest.fixture(scope="module")
def lr() -> torch.Tensor:
    return torch.rand(1, 3, 10, 14, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def ours(tmp_path_factory) -> tuple[LatentDiffusion, Path]:
    """A tiny model of ours, and its folder."""
    config = LatentDiffusionConfig(
        autoencoder=(8, 8, 16),
        channels=(16, 32),
        groups=4,
        words=("cat",),
        text_width=16,
        text_layers=1,
        text_length=8,
    )
    torch.manual_seed(5)
    model = LatentDiffusion(config).eval()
    folder = tmp_path_factory.mktemp("ours") / "pipeline"
    model.save_pretrained(folder)
    return model, folder


@pytest.fixture(scope="module")
def theirs(tmp_path_factory) -> Path:
    """A folder as the published one is laid out, in float32 and in half precision."""
    from diffusers import AutoencoderKL, StableDiffusionUpscalePipeline, UNet2DConditionModel

    torch.manual_seed(6)
    tokenizer = parts.tokenizer(("cat",), length=8)
    pipeline = StableDiffusionUpscalePipeline(
        vae=AutoencoderKL(
            block_out_channels=(4, 8, 8),
            down_block_types=("DownEncoderBlock2D",) * 3,
            up_block_types=("UpDecoderBlock2D",) * 3,
            layers_per_block=2,
            norm_num_groups=2,
            sample_size=256,
            scaling_factor=parts.SCALING_FACTOR,
        ),
        unet=UNet2DConditionModel(
            in_channels=7,
            out_channels=4,
            block_out_channels=(8, 8, 16, 16),
            down_block_types=("DownBlock2D", *("CrossAttnDownBlock2D",) * 3),
            up_block_types=(*("CrossAttnUpBlock2D",) * 3, "UpBlock2D"),
            only_cross_attention=(True, True, True, False),
            attention_head_dim=2,
            cross_attention_dim=16,
            use_linear_projection=True,
            norm_num_groups=4,
            num_class_embeds=1000,
        ),
        text_encoder=parts.text_encoder(len(tokenizer), width=16, layers=1, length=8),
        tokenizer=tokenizer,
        scheduler=parts.scheduler(),
        low_res_scheduler=parts.low_res_scheduler(),
        max_noise_level=350,
    )
    folder = tmp_path_factory.mktemp("theirs") / "pipeline"
    pipeline.save_pretrained(folder)
    for network in (pipeline.vae, pipeline.unet, pipeline.text_encoder):
        network.half()
    pipeline.save_pretrained(folder, variant="fp16")
    # The tokenizer in the two files of its first years.
    described = json.loads((folder / "tokenizer/tokenizer.json").read_text())["model"]
    merges = [m if isinstance(m, str) else " ".join(m) for m in described["merges"]]
    (folder / "tokenizer/vocab.json").write_text(json.dumps(described["vocab"]))
    (folder / "tokenizer/merges.txt").write_text("\n".join(["#version: 0.2", *merges]) + "\n")
    (folder / "tokenizer/tokenizer.json").unlink()
    # What must not be fetched, and the fields that older releases wrote.
    (folder / "x4-upscaler-ema.ckpt").write_bytes(b"pickle")
    (folder / "unet/diffusion_pytorch_model.bin").write_bytes(b"pickle")
    (folder / "README.md").write_text("# A pipeline")
    index = json.loads((folder / "model_index.json").read_text())
    old = {name: entry for name, entry in index.items() if entry != [None, None]}
    (folder / "model_index.json").write_text(json.dumps(old | {"_diffusers_version": "0.8.0"}))
    return folder


@pytest.fixture
def folder(theirs, tmp_path) -> Path:
    """A copy of the published layout, to be damaged."""
    return Path(shutil.copytree(theirs, tmp_path / "pipeline"))


@pytest.fixture(autouse=True)
def processor(monkeypatch) -> None:
    """No graphics card, whatever the machine has."""
    monkeypatch.setattr(resources, "free_on_card", lambda: None)


class Hub(ThreadingHTTPServer):
    """As much of the hub as its library asks for. ``answer`` replaces all that it says."""

    def __init__(self, folder: Path):
        super().__init__(("127.0.0.1", 0), Handler)
        self.folder, self.asked, self.answer = folder, [], None
        self.tells_sizes = True
        self.gated = False

    def fetched(self) -> list[str]:
        """The files whose content was asked for."""
        return [path.split(f"/resolve/{COMMIT}/")[1] for path in self.asked if "/resolve/" in path]

    def about(self) -> dict:
        """What it tells of the repository."""
        files = [path for path in sorted(self.folder.rglob("*")) if path.is_file()]
        siblings = [{"rfilename": file.relative_to(self.folder).as_posix()} for file in files]
        if self.tells_sizes:
            for entry, file in zip(siblings, files, strict=True):
                entry |= {"size": file.stat().st_size, "blobId": "0" * 40}
        return {"id": ID, "modelId": ID, "sha": COMMIT, "siblings": siblings, "tags": []}

    def tree(self) -> list[dict]:
        """The same in another form."""
        files = [self.folder / file["rfilename"] for file in self.about()["siblings"]]
        return [
            {
                "type": "file",
                "path": file.relative_to(self.folder).as_posix(),
                "size": file.stat().st_size,
                "oid": "0" * 40,
            }
            for file in files
        ]


class Handler(BaseHTTPRequestHandler):
    """Answers one request."""

    def log_message(self, *about: object) -> None:
        """Say nothing."""

    def send(self, status: int, headers: dict[str, str], body: bytes = b"") -> None:
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(body))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_GET(self) -> None:
        hub, path = self.server, self.path.split("?")[0]
        revision = path.split("/revision/")[1] if "/revision/" in path else COMMIT
        if hub.answer:
            self.send(*hub.answer)
        elif revision not in ("main", "v1", COMMIT):
            self.send(404, {"X-Error-Code": "RevisionNotFound"})
        elif path.startswith("/api/models/"):
            found = hub.tree() if "/tree/" in path else hub.about()
            self.send(200, {"Content-Type": "application/json"}, json.dumps(found).encode())
        elif "/resolve/" not in path:
            self.send(404, {})
        elif hub.gated:
            self.send(403, {"X-Error-Code": "GatedRepo"})
        else:
            if self.command == "GET":
                hub.asked.append(path)
            body = (hub.folder / path.split(f"/resolve/{COMMIT}/")[1]).read_bytes()
            etag = f'"{abs(hash(path)):040x}"'
            self.send(200, {"X-Repo-Commit": COMMIT, "ETag": etag}, body)

    do_HEAD = do_GET


@pytest.fixture
def hub(theirs, tmp_path, monkeypatch):
    """The hub, with the published layout under the name of ID and an empty cache here."""
    from huggingface_hub import constants

    server = Hub(theirs)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    endpoint = f"http://127.0.0.1:{server.server_port}"
    template = endpoint + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    yield server
    server.shutdown()
    server.server_close()


# folders


def test_a_folder_is_planned_without_reading_its_weights(ours):
    model, folder = ours
    about = plan(folder)
    assert (about.source, about.revision, about.local) == (str(folder), None, True)
    assert (about.device, about.dtype, about.offload) == ("cpu", "float32", "nothing")
    assert about.download_bytes == 0
    assert about.load_bytes == 4 * numbers(model)  # of files in half precision
    assert about.peak_bytes == about.load_bytes + SPARE + activation_bytes([16], [8, 8, 16], 4)
    assert about.problems == ()
    lines = about.describe().splitlines()
    assert len(lines) == 4
    assert lines[0] == str(folder)
    assert "nothing, the files are in this folder" in lines[1]
    assert "float32" in lines[2]
    assert "GB are needed" in lines[3]


def test_a_saved_pipeline_gives_the_same_images_again(ours, lr):
    model, folder = ours
    told = {"prompt": "a cat", "guidance_scale": 3.0, "seed": 2, "steps": 2, "color_fix": "none"}
    wanted = LatentUpscaler(model.pipeline()).upscale(lr, **told).image
    upscaler = load("latent", pretrained=folder)
    assert upscaler.name == str(folder)
    assert (upscaler.default_steps, upscaler.auto_tile, upscaler.scale) == (20, 128, 4)
    assert upscaler.max_noise_level == 350
    assert_close(upscaler.upscale(lr, **told).image, wanted, atol=5e-3, rtol=0)


def test_a_published_layout_is_loaded_in_one_type_of_numbers_and_saves_memory(theirs, lr):
    said = []
    upscaler = load_upscaler(theirs, on_status=said.append)
    pipeline = upscaler.pipeline
    networks = (pipeline.unet, pipeline.vae, pipeline.text_encoder)
    assert {p.dtype for network in networks for p in network.parameters()} == {torch.float32}
    assert {type(p).__name__ for p in pipeline.unet.attn_processors.values()} == {
        "SlicedAttnProcessor"
    }
    assert pipeline.vae.use_tiling
    assert pipeline.vae.tile_latent_min_size == VAE_TILE
    assert pipeline.vae.tile_sample_min_size == 4 * VAE_TILE
    assert pipeline._progress_bar_config == {"disable": True}
    assert upscaler.upscale(lr, steps=1, prompt="a cat", guidance_scale=9.0).image.shape == (
        1,
        3,
        40,
        56,
    )
    (line,) = said
    assert line == f"Loading {4 * numbers(pipeline) / 1e6:.1f} MB of weights in float32 …"


def test_the_upscaler_takes_pipelines_in_half_numbers(theirs, lr):
    upscaler = load_upscaler(theirs)
    upscaler.pipeline.unet.to(torch.bfloat16)  # as on a card; the autoencoder stays in float32
    upscaler.pipeline.text_encoder.to(torch.bfloat16)
    for sampler in upscaler.samplers:
        told = {"prompt": "a", "guidance_scale": 2.0, "sampler": sampler}
        image = upscaler.upscale(lr, steps=2, **told).image
        assert image.shape == (1, 3, 40, 56)
        assert image.dtype == torch.float32
        assert bool(((image >= 0) & (image <= 1)).all())


def test_half_precision_is_read_where_it_is_there(theirs, folder):
    assert HALF in plan(theirs).files
    assert FULL not in plan(theirs).files
    assert plan(theirs).variant == "fp16"
    for file in folder.glob("*/*.fp16.safetensors"):
        file.unlink()
    assert FULL in plan(folder).files
    assert plan(folder).variant is None
    assert plan(folder).load_bytes == plan(theirs).load_bytes


def test_a_part_may_lack_the_variant_in_half_precision(folder):
    (folder / HALF).unlink()
    assert {FULL, "vae/diffusion_pytorch_model.fp16.safetensors"} < set(plan(folder).files)
    assert load_published(folder).unet.dtype == torch.float32


def test_weights_in_several_files(theirs, tmp_path):
    from diffusers import UNet2DConditionModel

    folder = Path(shutil.copytree(theirs, tmp_path / "sharded"))
    unet = UNet2DConditionModel.from_pretrained(folder / "unet")
    shutil.rmtree(folder / "unet")
    unet.save_pretrained(folder / "unet", max_shard_size="100KB")
    shards = sorted(folder.glob("unet/*.safetensors"))
    assert len(shards) > 2
    assert plan(folder).load_bytes == plan(theirs).load_bytes
    assert_close(load_published(folder).unet.conv_in.weight, unet.conv_in.weight)
    shards[1].unlink()
    with pytest.raises(PublishedError, match=rf"one of the {len(shards):05d} files of the unet"):
        plan(folder)


def rename(path: Path, names: dict[str, str]) -> None:
    """Rename weights by parts of their names."""
    state = safetensors.torch.load(path.read_bytes())
    for old, new in names.items():
        state = {key.replace(old, new, 1): values for key, values in state.items()}
    path.write_bytes(safetensors.torch.save(state, {"format": "pt"}))


def test_weights_under_the_names_of_their_first_years(theirs, folder):
    rename(folder / "text_encoder/model.fp16.safetensors", {"": "text_model."})
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    rename(folder / "vae/diffusion_pytorch_model.fp16.safetensors", old)
    old, new = load_published(folder), load_published(theirs)
    for part in ("text_encoder", "vae"):
        assert_close(getattr(old, part).state_dict(), getattr(new, part).state_dict())


@pytest.mark.parametrize(
    ("name", "weight"),
    [
        ("text_encoder/model.fp16.safetensors", "layer_norm1.weight"),
        (HALF, "conv_norm_out.bias"),
        ("vae/diffusion_pytorch_model.fp16.safetensors", "decoder.conv_in.weight"),
    ],
)
def test_a_weight_that_is_missing_is_an_error_and_no_mere_warning(folder, name, weight):
    path = folder / name
    state = safetensors.torch.load(path.read_bytes())
    # No new layer begins with such values; zeros and ones would be found by chance.
    state = {key: values + 0.01 for key, values in state.items()}
    path.write_bytes(safetensors.torch.save(state, {"format": "pt"}))
    load_published(folder)
    rename(path, {weight: "unknown"})
    with pytest.raises(PublishedError, match=rf"none of the files holds .*{weight}"):
        load_published(folder)


def test_an_attention_of_one_head_can_be_sliced(folder):
    config = json.loads((folder / "unet/config.json").read_text())
    config["attention_head_dim"] = 1
    (folder / "unet/config.json").write_text(json.dumps(config))
    upscaler = load_upscaler(folder)
    assert upscaler.upscale(torch.zeros(1, 3, 8, 8), steps=1).image.shape == (1, 3, 32, 32)


# folders that are none


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("/no/such/folder", "does not exist; expected the folder"),
        ("./nowhere", "does not exist"),
        ("gpt2", "does not exist"),
        ("a/b/c", "does not exist"),
    ],
)
def test_names_that_are_neither_a_folder_nor_an_id(source, message):
    with pytest.raises(PublishedError, match=message):
        plan(source)


def test_a_file_is_no_source(folder):
    with pytest.raises(PublishedError, match=r"ema\.ckpt is a file; expected the folder"):
        plan(folder / "x4-upscaler-ema.ckpt")


def test_a_folder_has_no_revision(theirs):
    with pytest.raises(PublishedError, match="has no revision 'v1'"):
        plan(theirs, revision="v1")


def test_a_folder_without_index(tmp_path):
    with pytest.raises(PublishedError, match=r"no pipeline: it has no model_index\.json"):
        plan(tmp_path)


def change_index(folder: Path, **entries: object) -> None:
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps(index | entries))


def test_another_pipeline_is_refused(folder):
    change_index(folder, _class_name="StableDiffusionPipeline")
    with pytest.raises(
        PublishedError, match=r"holds a StableDiffusionPipeline, not a .* on the hub"
    ):
        load_published(folder)


def test_code_of_others_is_not_run(folder):
    change_index(folder, unet=["my_unet", "MyUNet"])
    (folder / "unet/my_unet.py").write_text("raise SystemExit('run')")
    with pytest.raises(PublishedError, match=r"unet of .* needs 'my_unet', code that"):
        load_published(folder)


def test_an_index_that_lacks_a_part(folder):
    change_index(folder, low_res_scheduler=[None, None])
    with pytest.raises(PublishedError, match="names no low_res_scheduler"):
        plan(folder)


@pytest.mark.parametrize("name", ["vae/config.json", "scheduler/scheduler_config.json"])
def test_a_config_that_is_missing(folder, name):
    (folder / name).unlink()
    with pytest.raises(PublishedError, match=f"not complete: {name} is missing. Instead you can"):
        plan(folder)


def test_weights_that_are_missing(folder):
    for file in folder.glob("text_encoder/*.safetensors"):
        file.unlink()
    with pytest.raises(PublishedError, match=r"text_encoder/model\.safetensors is missing"):
        plan(folder)


def test_pickles_are_not_read(folder):
    for file in folder.glob("unet/*.safetensors"):
        file.unlink()
    with pytest.raises(PublishedError, match="unet only as a pickle"):
        load_published(folder)


def test_files_that_are_damaged(folder):
    content = (folder / HALF).read_bytes()
    (folder / HALF).write_bytes(content[: len(content) // 2])
    with pytest.raises(PublishedError, match="is damaged or not what its name says"):
        plan(folder)
    (folder / "unet/config.json").write_text("{}")
    (folder / HALF).write_bytes(content)
    with pytest.raises(PublishedError, match="config of the unet"):
        plan(folder)
    (folder / "model_index.json").write_text("{")
    with pytest.raises(PublishedError, match=r"model_index\.json is damaged"):
        plan(folder)


def test_weights_of_another_shape_say_what_is_wrong(folder):
    shutil.copy(folder / "vae/diffusion_pytorch_model.fp16.safetensors", folder / HALF)
    with pytest.raises(PublishedError, match="could not be loaded"):
        load_published(folder)


# memory and disk


def test_too_little_memory_is_said_before_loading(theirs, monkeypatch):
    monkeypatch.setattr(resources, "free_memory", lambda: GB // 2)
    (problem,) = plan(theirs).problems
    assert "of memory are needed on the cpu, but only 0.5 GB are free" in problem
    assert f"Problem: {problem}" in plan(theirs).describe()
    monkeypatch.setattr(published, "_pipeline", MagicMock(side_effect=AssertionError))
    with pytest.raises(PublishedError, match=r"cannot be loaded: up to .*use the small model"):
        load_published(theirs)


@pytest.mark.parametrize(
    ("card", "offload"),
    [(10 * GB, "nothing"), (int(2.6 * GB), "parts"), (int(1.7 * GB), "layers"), (GB, None)],
)
def test_the_card_decides_what_waits_in_main_memory(theirs, monkeypatch, card, offload):
    from course_lib.upscaling.latent import layout

    sizes = {"unet": 473_000_000, "text_encoder": 340_000_000, "vae": 55_000_000}
    monkeypatch.setattr(resources, "free_on_card", lambda: card)
    monkeypatch.setattr(resources, "free_memory", lambda: 10 * GB)
    monkeypatch.setattr(layout, "numbers", lambda _, name: sizes[name.split("/")[0]])
    monkeypatch.setattr(layout, "channels", lambda *_: [256, 512, 1024])
    about = plan(theirs)
    assert (about.device, about.dtype, about.free_memory) == ("cuda", "float16", card)
    assert about.load_bytes == 2 * 813_000_000 + 4 * 55_000_000
    assert bool(about.problems) == (offload is None)
    assert about.offload == (offload or "layers")
    if offload:
        assert about.peak_bytes <= card
        assert "graphics card (cuda), in float16" in about.describe()
    monkeypatch.setattr(resources, "free_memory", lambda: GB)
    assert "on their way to the graphics card" in plan(theirs).problems[-1]


@pytest.mark.parametrize(
    ("offload", "call"),
    [
        ("nothing", "to"),
        ("parts", "enable_model_cpu_offload"),
        ("layers", "enable_sequential_cpu_offload"),
    ],
)
def test_offloading_is_switched_on(offload, call):
    pipeline = MagicMock(vae_scale_factor=4)
    published._saving_memory(pipeline, SimpleNamespace(offload=offload, device="cuda"))
    calls = [name for name, *_ in pipeline.method_calls]
    assert calls[-1] == call
    assert {"enable_attention_slicing", "vae.float", "vae.enable_tiling"} < set(calls)


def test_the_estimate_of_memory_holds_for_the_published_architecture():
    from diffusers import AutoencoderKL, UNet2DConditionModel

    with torch.device("meta"):  # shapes without numbers: nothing is computed
        unet = UNet2DConditionModel(
            in_channels=7,
            out_channels=4,
            block_out_channels=(256, 512, 512, 1024),
            down_block_types=("DownBlock2D", *("CrossAttnDownBlock2D",) * 3),
            up_block_types=(*("CrossAttnUpBlock2D",) * 3, "UpBlock2D"),
            only_cross_attention=(True, True, True, False),
            attention_head_dim=8,
            cross_attention_dim=1024,
            use_linear_projection=True,
            num_class_embeds=1000,
        )
        vae = AutoencoderKL(
            block_out_channels=(128, 256, 512),
            down_block_types=("DownEncoderBlock2D",) * 3,
            up_block_types=("UpDecoderBlock2D",) * 3,
            layers_per_block=2,
        )
        assert [round(sum(p.numel() for p in n.parameters()) / 1e6) for n in (unet, vae)] == [
            473,
            55,
        ]
        unet.set_attention_slice("auto")
        with torch.no_grad(), PeakMemory() as memory:
            unet(
                torch.empty(2, 7, LARGEST, LARGEST),
                torch.empty((), dtype=torch.long),
                encoder_hidden_states=torch.empty(2, 77, 1024),
                class_labels=torch.empty(2, dtype=torch.long),
            )
        estimate = activation_bytes([256], [128, 256, 512], 4)
        assert 0.9 < memory.peak / estimate <= 1
        with torch.no_grad(), PeakMemory() as memory:
            vae.decode(torch.empty(1, 4, VAE_TILE, VAE_TILE))
        assert 0.9 < memory.peak / activation_bytes([1], [128, 256, 512], 4) <= 1.001


def test_free_memory_minds_the_container(tmp_path):
    own = tmp_path / "own"
    assert resources.container_rooms(tmp_path, own) == []
    own.write_text("4:cpu,memory:/a\n1:pids:/\n0::/b/c\n")
    first, second = tmp_path / "memory/a", tmp_path / "b"
    for group in (first, second / "c"):
        group.mkdir(parents=True)
    (first / "memory.limit_in_bytes").write_text("1000\n")
    (first / "memory.usage_in_bytes").write_text("900\n")
    (first / "memory.stat").write_text("cache 7\ntotal_inactive_file 50\n")
    (second / "memory.max").write_text("600\n")
    (second / "memory.current").write_text("700\n")
    (second / "memory.stat").write_text("anon 3\ninactive_file 20\n")
    (second / "c/memory.max").write_text("max\n")
    assert resources.container_rooms(tmp_path, own) == [150, 0]
    assert 0 < resources.free_memory() < 2**60


def test_free_disk_of_a_folder_that_is_not_there_yet(tmp_path):
    assert resources.free_disk(tmp_path / "a" / "b") == resources.free_disk(tmp_path) > 0


# the hub


def test_a_repository_is_planned_without_its_weights(hub, theirs):
    about = plan(ID)
    assert set(hub.fetched()) == {"model_index.json", "unet/config.json", "vae/config.json"}
    assert not about.local
    assert about.variant == "fp16"
    assert {Path(name).suffix for name in about.files} == {".json", ".txt", ".safetensors"}
    rest = set(about.files) - set(hub.fetched())
    assert about.download_bytes == sum((theirs / name).stat().st_size for name in rest)
    assert about.load_bytes > plan(theirs).load_bytes  # by the files' headers, which are small
    assert f"Download: {about.download_bytes / 1e6:.1f} MB; " in about.describe()


def test_a_repository_is_fetched_once_and_then_used_without_a_network(hub, theirs):
    said = []
    pipeline = load_published(ID, revision="v1", on_status=said.append)
    assert pipeline.unet.dtype == torch.float32
    assert len(said) == 2
    assert said[0].startswith("Downloading ")
    assert said[1].startswith("Loading ")
    about = plan(ID, revision="v1")
    assert sorted(hub.fetched()) == sorted(about.files)  # and no pickle, nor float32
    assert about.download_bytes == 0
    assert "nothing, the files are in the cache" in about.describe()
    assert "revision v1" in about.describe()
    assert about.load_bytes == plan(theirs).load_bytes  # as the files on disk tell

    fetched = len(hub.fetched())
    load_published(ID, revision="v1", on_status=said.append)
    assert len(hub.fetched()) == fetched
    assert len(said) == 3

    hub.shutdown()
    hub.server_close()
    about = plan(ID, revision=COMMIT)
    assert (about.local, about.download_bytes) == (False, 0)
    assert load_published(ID, revision=COMMIT).unet.dtype == torch.float32
    (snapshot() / HALF).unlink()
    with pytest.raises(PublishedError, match=r"cannot be reached, and of .*cache has not all"):
        load_published(ID, revision=COMMIT)


def snapshot() -> Path:
    """Where the cache keeps the repository."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE, f"models--{ID.replace('/', '--')}", "snapshots", COMMIT)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ((404, {"X-Error-Code": "RepoNotFound"}), "has no repository someone/upscaler.*moved"),
        ((401, {}), "could not be fetched: .*401"),
        ((403, {"X-Error-Code": "GatedRepo"}), "is gated.*hf auth login"),
        ((403, {"X-Error-Message": "Access to this resource is disabled."}), "disabled"),
        ((404, {"X-Error-Code": "RevisionNotFound"}), "has no revision 'v1'"),
        ((404, {"X-Error-Code": "EntryNotFound"}), "a file of .* is missing"),
        ((503, {}), "cannot be reached"),
        ((429, {}), "cannot be reached"),
        ((418, {}), "could not be fetched"),
    ],
)
def test_what_the_hub_refuses_is_explained(hub, answer, message):
    hub.answer = answer
    with pytest.raises(PublishedError, match=message) as caught:
        load("latent", pretrained=ID, revision="v1")
    for alternative in ("local folder", "copy on the hub", 'load("latent")'):
        assert alternative in str(caught.value)


def test_a_revision_that_is_not_there(hub):
    with pytest.raises(PublishedError, match=r"has no revision 'v9'\. Leave it out"):
        plan(ID, revision="v9")


def test_a_repository_whose_list_is_open_but_not_its_files(hub):
    hub.gated = True
    with pytest.raises(PublishedError, match="is gated"):
        plan(ID)


def test_no_network(hub):
    hub.shutdown()
    hub.server_close()
    with pytest.raises(PublishedError, match=r"cannot be reached .*cache does not") as caught:
        load("latent", pretrained=ID)
    assert "local folder" in str(caught.value)


def test_offline_by_choice(hub, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.HfApi.model_info", MagicMock(side_effect=offline_error()))
    with pytest.raises(PublishedError, match=r"\(HF_HUB_OFFLINE is set\)"):
        plan(ID)


def offline_error() -> Exception:
    from huggingface_hub.errors import OfflineModeIsEnabled

    return OfflineModeIsEnabled("offline")


def test_too_little_disk_is_said_before_downloading(hub, monkeypatch):
    monkeypatch.setattr(resources, "free_disk", lambda folder: 1000)
    with pytest.raises(PublishedError, match=r"only 0\.0 MB of disk are free.*HF_HOME"):
        load_published(ID)
    assert not [name for name in hub.fetched() if name.endswith(".safetensors")]


def test_a_disk_that_is_full_after_all(hub, monkeypatch):
    plan(ID)
    full = OSError(28, "No space left on device")
    monkeypatch.setattr("huggingface_hub.snapshot_download", MagicMock(side_effect=full))
    with pytest.raises(PublishedError, match=r"could not be stored: .*No space left"):
        load_published(ID)


def test_too_little_memory_is_said_before_downloading(hub, monkeypatch):
    monkeypatch.setattr(resources, "free_memory", lambda: GB // 2)
    with pytest.raises(PublishedError, match="of memory are needed"):
        load_published(ID)
    assert not [name for name in hub.fetched() if name.endswith(".safetensors")]


def test_a_mirror_that_tells_no_sizes_is_not_trusted(hub):
    hub.tells_sizes = False
    assert plan(ID).download_bytes is None
    assert "of unknown size" in plan(ID).describe()
    with pytest.raises(PublishedError, match="does not tell the size"):
        load_published(ID)


def test_a_repository_of_something_else(hub, tmp_path):
    hub.folder = tmp_path / "empty"
    hub.folder.mkdir()
    with pytest.raises(PublishedError, match="holds no pipeline"):
        plan(ID)


def test_a_download_can_be_called_off(hub):
    def stop(status: str) -> None:
        raise Cancelled(status)

    with pytest.raises(Cancelled, match="Downloading"):
        load("latent", pretrained=ID, on_status=stop)
    assert not [name for name in hub.fetched() if name.endswith(".safetensors")]


# arguments


def test_other_upscalers_take_no_published_weights():
    with pytest.raises(UpscalingError, match="are for 'latent', not for 'srdiff'"):
        load("srdiff", pretrained=ID)
    with pytest.raises(UpscalingError, match="name that by pretrained"):
        load("latent", revision="v1")
    with pytest.raises(UpscalingError, match="PyTorch only"):
        load("latent", pretrained=ID, runtime="openvino")


@pytest.mark.parametrize(
    ("version", "name"),
    [("0.31.0", "torch_dtype"), ("0.40.0", "dtype"), ("0.42.0.dev0", "dtype"), ("1.0.0", "dtype")],
)
def test_the_type_of_numbers_is_named_as_the_release_of_diffusers_does(version, name):
    assert published._dtype_argument(version) == name
