"""Stable Diffusion upscaling: enlarge a picture by diffusion of codes, guided by a text.

Start it with ``make demos APP=st_app2``, or ``streamlit run demos/st_app2.py``. Nothing is
loaded, downloaded or computed before the visitor asks for it.
"""

import logging
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
    failure,
    note,
    offer,
    picture,
    take_ended,
)
from course_lib.upscaling.latent import LatentUpscaler
from course_lib.upscaling.latent.planning import size
from course_lib.upscaling.latent.published import Plan, plan
from jobs import Job
from latent import (
    KINDS,
    SOURCE,
    Options,
    Weights,
    enlarge,
    shelf,
    small_needs,
)
from pictures import plain
from results import Settings, complete
from views import show_result

LOGGER = logging.getLogger(__name__)
LIMITS = (64, 128, 256, 512)
MOST_GUIDANCE, MOST_STEPS, MOST_LETTERS = 10.0, 100, 300
JOB, RESULT, LOADING, PLAN = "latent-job", "latent-result", "latent-loading", "latent-plan"


def main() -> None:
    """Show the page."""
    st.set_page_config(page_title="Stable Diffusion upscaling", layout="wide")
    st.title("Stable Diffusion upscaling")
    st.write(
        "Enlarge a picture four times, and say in words what it shows. The detail that this adds "
        "is **invented**: it is no evidence of what was there, and least of all of faces, "
        "writing or number plates."
    )
    ended = take_ended(JOB)
    if ended and ended.result:
        st.session_state[RESULT] = ended.result
    remember("latent-")
    with st.sidebar:
        kind = choose_kind()
    weights = choose_weights() if kind == models.PUBLISHED else None
    options = shelf().options(weights)
    with st.sidebar:
        limit = choose_limit(LIMITS, usual=128)
        settings = choose_options(weights, options, limit) if options else None
    chosen, pictured = st.columns([5, 4], gap="large")
    with chosen:
        source = choose_source()
        prepared = choose_what(source, limit, options.scale) if source and options else None
    with pictured:
        if source:
            picture(source, prepared)
        if options:
            settings = choose_words(settings)
        if prepared:
            settings = complete(settings, source, prepared)
        work = partial(enlarge, shelf(), weights, settings, prepared) if prepared else None
        offer("Upscale", work, key=JOB, ended=ended, main=True)
    if result := st.session_state.get(RESULT):
        show_result(result, current=settings if prepared else None)


def remember(prefix: str) -> None:
    """Keep what was chosen where it is not always shown; its keys begin with ``prefix``."""
    for key, value in st.session_state.items():
        if str(key).startswith(prefix):
            st.session_state[key] = value


def begun(key: str, value) -> str:
    """Return the key of a field that begins with a value, and is remembered."""
    st.session_state.setdefault(key, value)
    return key


# which model


def choose_kind() -> str:
    """Ask which model."""
    return st.selectbox(
        "Model",
        KINDS,
        format_func=KINDS.get,
        key="latent-kind",
        help="The **small model** was trained by this course, is part of it, and is quick. "
        "**Published weights** are those of others: much larger, to be downloaded, or in a "
        "folder of yours.",
    )


def choose_weights() -> Weights:
    """Let the visitor name published weights, see what they would take, and load them."""
    ended = take_ended(LOADING)
    with st.container(border=True):
        note(
            "Weights that others have published, for the same pipeline. Nothing is downloaded or "
            "loaded before you ask for it."
        )
        named, version = st.columns([3, 1])
        source = named.text_input(
            "Repository or folder",
            key=begun("latent-source", SOURCE),
            help="The id of a repository on the Hugging Face hub, or a folder on the computer "
            "that runs this page, in which diffusers has saved a pipeline for upscaling.",
        )
        revision = version.text_input(
            "Revision (optional)", key="latent-revision", help="A branch, a tag or a commit."
        )
        weights = Weights(source.strip(), revision.strip() or None)
        if shelf().options(weights):
            st.write(f"{plain(str(weights))} is in memory, and ready.")
            offer("Take it out of memory", shelf().clear, key=LOADING, ended=ended, main=False)
        else:
            offer_to_load(weights, ended)
    return weights


def offer_to_load(weights: Weights, ended: Job | None) -> None:
    """Say on demand what weights would take, and offer to load them if that is there."""
    if st.button("Check", disabled=not weights.source):
        with st.spinner("Looking at what there is …"):
            st.session_state[PLAN] = weights, examine(weights)
    about, found = st.session_state.get(PLAN, (None, None))
    work, label = None, "Load"
    if about != weights:
        note("Check first what it would take.")
    elif isinstance(found, str):
        st.error(found)
    else:
        say = st.warning if found.problems else st.info
        say("  \n".join(plain(line) for line in found.describe().splitlines()))
        label = label_for(found)
        work = None if found.problems else partial(shelf().put, weights)
    offer(label, work, key=LOADING, ended=ended, main=False, what="loading")


def examine(weights: Weights) -> Plan | str:
    """Return the plan for weights, or a message why there is none."""
    try:
        return plan(weights.source, revision=weights.revision)
    except Exception as error:
        LOGGER.exception("%s cannot be examined", weights)
        return f"These weights cannot be loaded: {failure(error)}"


def label_for(found: Plan) -> str:
    """Say on the button what loading downloads."""
    if found.download_bytes is None:
        return "Load"
    return f"Load (downloads {size(found.download_bytes) if found.download_bytes else 'nothing'})"


# the model's options


def choose_options(weights: Weights | None, options: Options, limit: int) -> Settings:
    """Let the visitor choose how the model draws its answer."""
    name, told = str(weights or models.LATENT), options.told
    note(options.needs or small_needs(limit))
    guidance = st.slider(
        "Guidance scale",
        1.0,
        MOST_GUIDANCE,
        step=0.5,
        key=begun(f"latent-guidance-{name}", min(told.guidance_scale, MOST_GUIDANCE)),
        help="How far the prompt is followed. At 1 as the model has learned it; more goes beyond "
        "that, takes twice the time, and exaggerates in the end.",
    )
    level = st.slider(
        "Noise level",
        0,
        options.most_noise,
        key=begun(f"latent-noise-{name}", told.noise_level),
        help="How much noise the small picture gets before the model sees it. It is told the "
        "level: the more there is, the less it trusts the picture, and the more it invents.",
    )
    sampler = st.selectbox(
        "Sampler",
        LatentUpscaler.samplers,
        format_func=models.SAMPLERS.get,
        key=f"latent-sampler-{name}",
        help="How the way from noise to the picture is walked. DDIM and DPM-Solver++ take few "
        "large steps well; DDPM adds fresh noise in each, and wants many.",
    )
    steps = st.slider(
        "Steps",
        1,
        MOST_STEPS,
        key=begun(f"latent-steps-{name}", min(options.steps, MOST_STEPS)),
        help="How often the network is applied. Time grows with it, quality only at first.",
    )
    seed, samples = choose_seed(), choose_samples(limit)
    fix = st.selectbox(
        "Colour fix",
        models.COLOR_FIXES,
        format_func=lambda name: name[0].upper() + models.COLOR_FIXES[name][1:],
        key=begun(f"latent-fix-{name}", told.color_fix),
        help="Colours drift a little in the codes. **Wavelet** takes all that is coarse from the "
        "small picture, **AdaIN** only the mean and the contrast of each colour; "
        "**back-projection** adds what the result lacks when it is made small again.",
    )
    return Settings(
        (),
        "",
        False,
        models.PUBLISHED if weights else models.LATENT,
        weights=str(weights) if weights else None,
        sampler=sampler,
        steps=steps,
        seed=seed,
        samples=samples,
        told=replace(told, guidance_scale=guidance, noise_level=level, color_fix=fix),
    )


def choose_words(settings: Settings) -> Settings:
    """Let the visitor say what the picture shows, and what it shall not."""
    prompt = st.text_input(
        "Prompt (optional)",
        max_chars=MOST_LETTERS,
        placeholder="a bridge over a river",
        key="latent-prompt",
        help="What the picture shows, in English. It helps to decide what is invented.",
    )
    with st.expander("Negative prompt"):
        negative = st.text_input(
            "What the picture does not show (optional)",
            max_chars=MOST_LETTERS,
            placeholder="grass",
            key="latent-negative",
        )
    told = replace(settings.told, prompt=prompt.strip(), negative_prompt=negative.strip())
    if settings.weights is None:
        note(
            "The small model has learned next to nothing from words: a prompt changes its pictures "
            "by far less than one grey level. Published weights follow prompts."
        )
    if told.negative_prompt and told.guidance_scale == 1:
        note("A negative prompt acts only at a guidance scale above 1.")
    return replace(settings, told=told)


if __name__ == "__main__":
    main()
