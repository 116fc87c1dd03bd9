"""Reading the files that the authors of SRDiff published, and none that pretend to be.

The file is a pickle of ``{global_step, optimizer_states, state_dict: {"model": {...}}}``.
Pickles can run any code, so only those of plain data and tensors are read.
"""

from pathlib import Path

import torch
from torch import nn

WHERE = (
    "The authors publish it on the releases page of their repository, "
    "https://github.com/LeiaLi/SRDiff/releases: download it and give its path."
)


class CheckpointError(RuntimeError):
    """A file that is missing, damaged, or not the model that was asked for."""


def load_official(model: nn.Module, path: Path) -> None:
    """Load the authors' file at ``path`` into an :class:`~course_lib.upscaling.srdiff.SRDiff`.

    Raises :class:`CheckpointError`, before anything is changed, unless its tensors are
    exactly the model's, with the model's schedule.
    """
    found, wanted = read_state(path), model.state_dict()
    complaints = [
        *_listed("is missing", [key for key in wanted if key not in found]),
        *_listed("was not expected", [key for key in found if key not in wanted]),
        *_listed(
            "has the wrong shape",
            [
                f"{key} {tuple(value.shape)} instead of {tuple(wanted[key].shape)}"
                for key, value in found.items()
                if key in wanted and value.shape != wanted[key].shape
            ],
        ),
    ]
    if complaints:
        raise CheckpointError(
            f"{path} holds another model than its configuration describes: "
            f"{'; '.join(complaints)}. {WHERE}"
        )
    if not torch.allclose(found["betas"].float(), wanted["betas"].cpu(), rtol=1e-4, atol=1e-6):
        raise CheckpointError(
            f"{path} was trained with another noise schedule than the cosine schedule with "
            f"offset 0.008, so that its samples would be noise. {WHERE}"
        )
    model.load_state_dict(found)


def read_state(path: Path) -> dict[str, torch.Tensor]:
    """Return the model's tensors in a file of the authors' layout, on the CPU.

    Raises :class:`CheckpointError` where there is no file or it is anything else.
    """
    if not path.is_file():
        raise CheckpointError(f"there is no file {path}, where SRDiff's weights should be. {WHERE}")
    try:
        content = torch.load(path, weights_only=True, map_location="cpu")
    except Exception as error:  # a damaged or malicious pickle can fail in any way
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(
            f"{path} is damaged, or holds other things than plain data and tensors, which are "
            f"not loaded because they could run code ({reason}). Expected was a checkpoint of "
            f"SRDiff. {WHERE}"
        ) from error
    state = content
    for key in ("state_dict", "model"):
        if not isinstance(state, dict) or key not in state:
            raise CheckpointError(
                f"{path} is not a checkpoint in SRDiff's layout, a dictionary with the tensors "
                f"under ['state_dict']['model']: there is no {key!r}. {WHERE}"
            )
        state = state[key]
    if not isinstance(state, dict) or not all(
        isinstance(value, torch.Tensor) and value.is_floating_point() for value in state.values()
    ):
        raise CheckpointError(
            f"{path} has other things than tensors of real numbers under "
            f"['state_dict']['model']. {WHERE}"
        )
    return state


def _listed(what: str, entries: list[str]) -> list[str]:
    """Return the first entries in words, or nothing where there are none."""
    if not entries:
        return []
    more = f" and {len(entries) - 3} more" if len(entries) > 3 else ""
    return [f"{', '.join(map(str, entries[:3]))}{more} {what}"]
