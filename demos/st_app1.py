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
from common import choose_cut, choose_source, describe, follow, note, say_how_it_ended, submit
from course_lib.data import ImageError
from course_lib.upscaling import Upscaler
from jobs import Job, Work
from pictures import Prepared, Source, explain, framed, plain, prepare, short
from results import Settings, run, samples_allowed
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
    ended = take_ended_job()
    checkpoint = models.checkpoint_path(sys.argv[1:], os.environ)
    with st.sidebar:
        limit, settings, upscaler = choose_model(checkpoint)
    chosen, pictured = st.columns([5, 4], gap="large")
    with chosen:
        source = choose_source()
        prepared = choose_what(source, limit, upscaler) if source and upscaler else None
        if prepared:
            settings = complete(settings, source, prepared)
    with pictured:
        if source:
            image = framed(source.thumbnail, source.size, prepared.box if prepared else None)
            st.image(image, alt=f"The chosen picture, {source.name}")
        job = st.session_state.get(JOB)
        if st.button("Upscale", type="primary", disabled=not prepared or job is not None):
            start(partial(run, upscaler, settings, prepared))
        if job:
            follow(job)
        elif ended:
            say_how_it_ended(ended)
    if result := st.session_state.get(RESULT):
        show_result(result, current=settings if prepared else None)


def take_ended_job() -> Job | None:
    """Return the visitor's job if it has just ended, and keep its result, if any."""
    job = st.session_state.get(JOB)
    if job is None or not job.ended:
        return None
    st.session_state[JOB] = None
    if job.result:
        st.session_state[RESULT] = job.result
    return job


def start(work: Work) -> None:
    """Queue a run, unless there are too many."""
    job = submit(work)
    if job:
        st.session_state[JOB] = job
        st.rerun()  # with the button disabled


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
    limit = st.select_slider(
        "Largest picture that the model gets",
        LIMITS,
        value=256,
        format_func=lambda side: f"{side} × {side}",
        key="limit",
        help="In pixels. Of a larger picture you choose a part, or have it made smaller. The "
        "result is four times as wide and high; time grows with the number of pixels.",
    )
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
    seed = st.number_input(
        "Seed",
        0,
        2**31 - 1,
        0,
        key="seed",
        help="The number that the noise is made from. The same seed gives the same picture; "
        "further samples take the next numbers.",
    )
    most = samples_allowed(limit)
    samples = st.slider(
        "Samples",
        1,
        most,
        1,
        key=f"samples-{most}",
        help="How many pictures to draw. Where they differ, the model is unsure. "
        "At 512 × 512 there are at most 2, to bound the memory.",
    )
    return replace(settings, sampler=sampler, steps=steps, seed=int(seed), samples=samples)


def choose_what(source: Source, limit: int, upscaler: Upscaler) -> Prepared | None:
    """Let the visitor choose what of the picture is enlarged, and say it."""
    scale = upscaler.scale
    truth = st.toggle(
        "Treat this picture as the ground truth",
        key="truth",
        help=f"The picture is first made {scale} times smaller, and enlarged from that. The "
        "result can then be measured against the original.",
    )
    cut = choose_cut(source, limit * scale if truth else limit)
    try:
        prepared = prepare(source.image, limit, cut, scale=scale, truth=truth)
    except ImageError as error:
        st.error(f"{short(source.name)}: {plain(str(error))}")
        return None
    note(describe(source, keeps_alpha=not truth))
    st.write(explain(source, prepared, scale))
    return prepared


def complete(settings: Settings, source: Source, prepared: Prepared) -> Settings:
    """Return the settings with the picture that they are for."""
    truth = prepared.hr is not None
    taken = "a part of " if prepared.box else ""
    return replace(
        settings,
        picture=(source.key, prepared.box, prepared.lr.size),
        described=f"{taken}{source.name}",
        truth=truth,
    )


if __name__ == "__main__":
    main()
