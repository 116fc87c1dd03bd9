"""The authors' files: what is loaded, and all that is refused."""

import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from course_lib.diffusion import linear_schedule
from course_lib.upscaling import CheckpointError, SRDiff, SRDiffConfig
from course_lib.upscaling.srdiff import schedule_buffers

RELEASES = "https://github.com/LeiaLi/SRDiff/releases"


def layout(state: dict) -> dict:
    """What the authors' file holds."""
    moments = {"exp_avg": torch.zeros(2), "exp_avg_sq": torch.zeros(2), "step": 400_000}
    optimizer = {"state": {0: moments}, "param_groups": [{"lr": 2e-4, "params": [0]}]}
    return {"global_step": 400_000, "optimizer_states": [optimizer], "state_dict": {"model": state}}


@pytest.fixture
def refused(tmp_path, tiny_srdiff) -> Callable[[object], str]:
    """Try to load a file with this content; return in what words it was refused."""

    def attempt(content: object, write: Callable = torch.save) -> str:
        path = tmp_path / "model.ckpt"
        write(content, path)
        with pytest.raises(CheckpointError) as caught:
            SRDiff.from_official(path, tiny_srdiff().config)
        assert str(path) in str(caught.value)
        assert RELEASES in str(caught.value)
        return str(caught.value)

    return attempt


def changed(state: dict, **entries) -> dict:
    return {**state, **entries}


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_the_layout_of_the_authors_is_read(tmp_path, golden_srdiff, golden_state, zipped):
    path = tmp_path / "model_ckpt.ckpt"
    torch.save(layout(golden_state), path, _use_new_zipfile_serialization=zipped)
    model = SRDiff.from_official(path, golden_srdiff.config)
    for key, value in model.state_dict().items():
        assert torch.equal(value, golden_state[key]), key
    assert not model.training
    assert not any(p.requires_grad for p in model.rrdb.parameters())
    lr = torch.rand(1, 3, 4, 4)
    one, other = (
        m.sample(lr, generator=torch.Generator().manual_seed(0)) for m in (model, golden_srdiff)
    )
    assert torch.equal(one, other)


@pytest.mark.parametrize("name", ["div2k", "celeba"])
def test_the_official_configurations_are_known_by_name(tmp_path, name):
    state = SRDiff(SRDiffConfig.official(name)).state_dict()
    path = tmp_path / "model.ckpt"
    torch.save(layout(state), path, _use_new_zipfile_serialization=False)
    assert SRDiff.from_official(str(path), name).config == SRDiffConfig.official(name)
    other = {"div2k": "celeba", "celeba": "div2k"}[name]
    with pytest.raises(CheckpointError, match="holds another model"):
        SRDiff.from_official(path, other)


def test_unknown_configuration(tmp_path):
    with pytest.raises(ValueError, match="unknown configuration 'df2k'"):
        SRDiff.from_official(tmp_path / "model.ckpt", "df2k")


@pytest.mark.parametrize("name", ["missing.ckpt", "."])
def test_there_is_no_file(tmp_path, tiny_srdiff, name):
    with pytest.raises(CheckpointError, match="there is no file") as caught:
        SRDiff.from_official(tmp_path / name, tiny_srdiff().config)
    assert RELEASES in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [b"", b"<html>Not found</html>", b"\x89PNG\r\n\x1a\n", b"PK\x03\x04", b"\x80\x02", bytes(99)],
)
def test_files_that_are_no_checkpoint(refused, content):
    assert "is damaged" in refused(content, lambda data, path: path.write_bytes(data))


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("kept", [0.1, 0.5, 0.99])
def test_truncated_downloads(refused, golden_state, zipped, kept):
    def write(content, path):
        torch.save(content, path, _use_new_zipfile_serialization=zipped)
        path.write_bytes(path.read_bytes()[: int(kept * path.stat().st_size)])

    assert "is damaged" in refused(layout(golden_state), write)


class Malicious:
    """Runs code when it is unpickled."""

    def __init__(self, target: Path):
        self.target = target

    def __reduce__(self):
        return Path.touch, (self.target,)


@pytest.mark.parametrize("how", ["zip", "legacy", "plain pickle"])
def test_code_in_a_file_is_not_run(tmp_path, refused, golden_state, how):
    trace = tmp_path / "code-was-run"
    content = layout(golden_state) | {"callback": Malicious(trace)}

    def write(content, path):
        if how == "plain pickle":
            path.write_bytes(pickle.dumps(content, protocol=2))
        else:
            torch.save(content, path, _use_new_zipfile_serialization=how == "zip")

    assert "could run code" in refused(content, write)
    assert not trace.exists()
    pickle.loads(pickle.dumps(Malicious(trace)))  # it would have
    assert trace.exists()


def test_other_layouts(refused, golden_state):
    """The famous one first: without a strict check, nothing is loaded and nothing said."""
    assert "there is no 'state_dict'" in refused(golden_state)
    assert "there is no 'model'" in refused({"state_dict": golden_state})
    assert "there is no 'model'" in refused({"state_dict": [1, 2]})
    assert "there is no 'state_dict'" in refused([golden_state])
    assert "there is no 'state_dict'" in refused(torch.zeros(3))
    assert "other things than tensors" in refused(layout(list(golden_state)))
    assert "other things than tensors" in refused(layout(changed(golden_state, extra=3)))
    whole = {"rrdb.conv_first.bias": torch.zeros(8, dtype=torch.int64)}
    assert "real numbers" in refused(layout(golden_state | whole))


def test_other_models(refused, golden_state):
    without = {k: v for k, v in golden_state.items() if not k.startswith("rrdb.conv_first")}
    message = refused(layout(without))
    assert "rrdb.conv_first.weight, rrdb.conv_first.bias is missing" in message
    assert "and 393 more" not in message

    message = refused(layout({}))
    assert "more is missing" in message

    extra = changed(golden_state, **{"rrdb.upconv3.bias": torch.zeros(8)})
    assert "rrdb.upconv3.bias was not expected" in refused(layout(extra))

    wrong = changed(golden_state, **{"denoise_fn.mlp.0.bias": torch.zeros(7)})
    assert "denoise_fn.mlp.0.bias (7,) instead of (32,) has the wrong shape" in refused(
        layout(wrong)
    )


def test_another_schedule(refused, golden_state):
    linear = {key: v.float() for key, v in schedule_buffers(linear_schedule(100)).items()}
    assert "another noise schedule" in refused(layout(golden_state | linear))
