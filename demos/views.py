"""How the result of a run is shown: compared, measured, side by side, and to download."""

from functools import partial

import streamlit as st

from common import note
from compare import before_and_after, detail, place_sliders
from course_lib.upscaling.latent import Conditioning
from models import COLOR_FIXES, LABELS, SAMPLERS
from pictures import dimensions, plain, short, stem
from results import Result, Settings, Spread, archive

COLUMNS = 4
DETAIL, ZOOM = 128, 2  # pixels a side of a detail, and how much larger it is shown
WHOLE_PICTURES, DETAILS = "whole pictures", "a detail"


def show_result(result: Result, current: Settings | None) -> None:
    """Show a result; ``current`` are the settings that the page has now, if complete."""
    st.header("Result")
    st.write(f"{in_words(result.settings)}; {result.seconds:.1f} s.")
    if current and current != result.settings:
        st.info("You have changed settings since. Press Upscale for a result with the new ones.")
    number = choose_sample(len(result.samples))
    compare(result, number)
    download(result, number)
    if result.scores:
        show_scores(result)
    if result.spread:
        show_samples(result)
        show_spread(result.spread, len(result.samples))


def in_words(settings: Settings) -> str:
    """Say for Markdown what a result was made of, and how."""
    parts = [LABELS[settings.model]]
    if settings.weights:
        parts[0] += f" {settings.weights}"
    if settings.sampler:
        steps = f"{settings.steps} step{'s' if settings.steps > 1 else ''}"
        parts += [f"{SAMPLERS[settings.sampler]} with {steps}", f"seed {settings.seed}"]
    if settings.samples > 1:
        parts.append(f"{settings.samples} samples")
    if settings.told:
        parts += told_in_words(settings.told)
    picture = short(settings.described)
    if settings.truth:
        picture += " as the ground truth"
    return f"{plain(', '.join(parts))}: {picture}"


def told_in_words(told: Conditioning) -> list[str]:
    """Say what a model was told besides the picture."""
    texts = [f"prompt “{told.prompt}”" if told.prompt else "no prompt"]
    if told.negative_prompt:
        texts.append(f"negative prompt “{told.negative_prompt}”")
    return [
        *texts,
        f"guidance scale {told.guidance_scale:g}",
        f"noise level {told.noise_level}",
        f"colour fix {COLOR_FIXES[told.color_fix]}",
    ]


def choose_sample(count: int) -> int:
    """Let the visitor choose one of the samples; return its index."""
    if count == 1:
        return 0
    return st.radio(
        "Sample to look at",
        range(count),
        format_func=lambda index: str(index + 1),
        horizontal=True,
        key="shown",
    )


def compare(result: Result, number: int) -> None:
    """Show the chosen sample against bicubic, or against the original where there is one."""
    model = LABELS[result.settings.model]
    name, before = "Bicubic", result.before
    if result.original:
        name = st.radio("Compare with", ("Bicubic", "Original"), horizontal=True, key="against")
        before = result.original if name == "Original" else before
    picture = result.settings.described
    before_and_after(
        before,
        result.samples[number],
        names=(name, model),
        alts=(f"{name}: {picture}", f"Enlarged by {model}: {picture}"),
        key="compare",
    )


def download(result: Result, number: int) -> None:
    """Offer the chosen sample as PNG, and all of them as a zip."""
    settings, count = result.settings, len(result.samples)
    name = f"{stem(settings.described)}-{settings.model}"
    names = [f"{name}.png"]
    if settings.seed is not None:
        names = [f"{name}-seed{settings.seed + index}.png" for index in range(count)]
    with st.container(horizontal=True):
        st.download_button(
            f"Download sample {number + 1} as PNG" if count > 1 else "Download as PNG",
            result.samples[number],
            names[number],
            "image/png",
            on_click="ignore",
        )
        if count > 1:
            st.download_button(
                f"Download all {count} as a zip",
                partial(archive, names, result.samples),
                f"{name}.zip",
                "application/zip",
                on_click="ignore",
            )
    note(f"{dimensions(result.size)} pixels.")


def show_scores(result: Result) -> None:
    """Show how near bicubic, the model and the samples' mean come to the original."""
    st.subheader("Measured against the original")
    rows = [
        "| enlarged by | PSNR (dB) | SSIM | LR consistency (dB) |",
        "| --- | ---: | ---: | ---: |",
    ]
    for name, scores in zip(scored(result.settings), result.scores, strict=True):
        ssim = "–" if scores.ssim is None else f"{scores.ssim:.4f}"
        rows.append(f"| {name} | {decibels(scores.psnr)} | {ssim} | {decibels(scores.lr_psnr)} |")
    st.markdown("\n".join(rows))
    border = result.border
    left_out = f"a border of {border} pixels left out" if border else "no border left out"
    note(
        f"Higher is better. PSNR and SSIM are of the luma (Y of BT.601), with {left_out}. "
        "LR consistency is the PSNR, in RGB, of the result made small again against the small "
        "picture that it came from; since pixels are rounded to 256 levels, about 59 dB is as "
        "good as perfect."
        + (" SSIM needs at least 11 × 11 pixels." if result.scores[0].ssim is None else "")
    )


def scored(settings: Settings) -> list[str]:
    """Return what was measured, in the order of :func:`results.scores_of`."""
    model = LABELS[settings.model]
    if settings.samples == 1:
        return ["Bicubic", model]
    return ["Bicubic", f"{model}, sample 1", f"{model}, mean of {settings.samples}"]


def decibels(value: float) -> str:
    """Return a ratio in dB; that of equal pictures is infinite."""
    return "∞" if value == float("inf") else f"{value:.2f}"


def show_samples(result: Result) -> None:
    """Show all samples side by side, whole or the same detail of each."""
    st.subheader("All samples")
    files = result.samples
    if min(result.size) > DETAIL:
        how = st.radio("Show", (WHOLE_PICTURES, DETAILS), horizontal=True, key="samples-shown")
        if how == DETAILS:
            cut = place_sliders(result.size, DETAIL, key="detail", what="Place of the detail")
            files = [detail(file, DETAIL, ZOOM, cut) for file in files]
    for start in range(0, len(files), COLUMNS):
        for place, column in enumerate(st.columns(COLUMNS), start=start):
            if place < len(files):
                with column:
                    st.image(files[place], alt=f"Sample {place + 1}")
                    note(f"Sample {place + 1}")


def show_spread(spread: Spread, count: int) -> None:
    """Show where the samples differ, and how much."""
    st.subheader("Where the samples differ")
    st.image(
        spread.map,
        alt="Map of the standard deviation of the samples at each pixel",
    )
    note(
        f"The standard deviation of the {count} samples at each pixel, averaged over the three "
        f"colours: dark blue stands for 0, yellow for {spread.top:.1f} or more of 255 levels. "
        f"The mean over the picture is {spread.mean:.2f} levels."
    )
