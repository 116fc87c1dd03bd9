"""Super-resolution with SRDiff: enlarge a picture, and compare, measure and keep the result.

Start it with ``make demos APP=st_app1``, or ``streamlit run demos/st_app1.py``; the authors'
checkpoint is offered where it is given, ``streamlit run demos/st_app1.py -- --checkpoint FILE``.
"""

import os
import sys
from dataclasses import replace
from functools import partial

import streamlit as st

import models
from common import (
    choose_limit,
    choose_samples,
    choose_seed,
    choose_source,
    choose_what,
    note,
    offer,
    picture,
    take_ended,
)
from course_lib.upscaling import Upscaler
from results import Settings, complete, run
from views import show_result

LIMITS = (128, 256, 512)
JOB, RESULT = "srdiff-job", "srdiff-result"


def main() -> None:
    """Show the page."""
    st.set_page_config(page_title="Super-resolution with SRDiff", layout="wide")
    st.title("Super-resolution with SRDiff")
    st.write(
        "Enlarge a picture four times. What it does not hold has to be invented: "
        "SRDiff draws one of the many sharp pictures that would fit."
    )
    ended = take_ended(JOB)
    if ended and ended.result:
        st.session_state[RESULT] = ended.result
    checkpoint = models.checkpoint_path(sys.argv[1:], os.environ)
    with st.sidebar:
        limit, settings, upscaler = choose_model(checkpoint)
    chosen, pictured = st.columns([5, 4], gap="large")
    with chosen:
        source = choose_source()
        prepared = choose_what(source, limit, upscaler.scale) if source and upscaler else None
        if prepared:
            settings = complete(settings, source, prepared)
    with pictured:
        if source:
            picture(source, prepared)
        work = partial(run, upscaler, settings, prepared) if prepared else None
        offer("Upscale", work, key=JOB, ended=ended, main=True)
    if result := st.session_state.get(RESULT):
        show_result(result, current=settings if prepared else None)


def choose_model(checkpoint) -> tuple[int, Settings, Upscaler | None]:
    """Let the visitor choose a model and its options, and how large a picture it gets."""
    names, complaint = models.offered(checkpoint)
    if complaint:
        st.warning(f"The authors' checkpoint is not offered. {complaint}")
    name = st.selectbox(
        "Model",
        names,
        format_func=models.LABELS.get,
        key="model",
        help="**SRDiff** starts from noise and draws one of the pictures that would fit; each "
        "seed gives another. **Regression** answers with the mean of all that would fit: near "
        "on average, but soft. Both are compared with **bicubic** enlargement, which learns "
        "nothing.",
    )
    limit = choose_limit(LIMITS, usual=256)
    upscaler = models.get(name, checkpoint)
    settings = Settings((), "", False, name)
    if upscaler and upscaler.samplers:
        settings = choose_sampling(settings, upscaler, limit)
    elif upscaler:
        note("This model draws nothing at random: it has one answer, and no options.")
    return limit, settings, upscaler


def choose_sampling(settings: Settings, upscaler: Upscaler, limit: int) -> Settings:
    """Let the visitor choose how a model that draws its answer does so."""
    config, model = upscaler.model.config, settings.model
    known = [name for name in models.SAMPLERS if name in upscaler.samplers]
    sampler = st.selectbox(
        "Sampler",
        known,
        index=known.index(config.sampler),
        format_func=models.SAMPLERS.get,
        key=f"sampler-{model}",
        help="How the way from noise to the picture is walked. DDIM and DPM-Solver++ take a few "
        f"large steps; DDPM always takes all {config.timesteps}, with fresh noise in each.",
    )
    every = sampler == "ddpm"
    steps = st.slider(
        "Steps",
        1,
        config.timesteps,
        config.timesteps if every else min(config.steps, config.timesteps),
        disabled=every,
        key=f"steps-{model}-{'all' if every else 'some'}",
        help="How often the network is applied. Time grows with it, quality only at first.",
    )
    seed, samples = choose_seed(), choose_samples(limit)
    return replace(settings, sampler=sampler, steps=steps, seed=seed, samples=samples)


if __name__ == "__main__":
    main()
