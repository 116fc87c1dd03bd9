"""What the demonstrations share: choosing a picture and options, the queue and progress."""

import math
import sys
import threading
from collections.abc import Callable

import streamlit as st
from streamlit import runtime
from streamlit.runtime.scriptrunner import get_script_run_ctx

from compare import place_sliders
from course_lib import data, upscaling
from jobs import CANCELLED, FAILED, WAITING, Job, JobQueue, QueueFull, Work
from pictures import (
    ENDINGS,
    MAX_MEGABYTES,
    MAX_PIXELS,
    PART,
    WHOLE,
    Cut,
    Prepared,
    Source,
    dimensions,
    explain,
    framed,
    plain,
    prepare,
    read,
    short,
    source,
)
from results import samples_allowed

SAMPLE, OWN = "A sample", "Your own"
REFRESH, SLOWEST = 1.0, 10.0  # seconds between two looks at a job that runs, and at one that waits
_reading = threading.Lock()  # a large picture takes memory while it is decoded


# choosing a picture


def choose_source() -> Source | None:
    """Let the visitor choose a sample or upload a picture; None as long as there is none."""
    kind = st.radio("Picture", (SAMPLE, OWN), horizontal=True, key="kind")
    if kind == SAMPLE:
        name = st.radio(
            "Sample", data.EXAMPLES, format_func=str.capitalize, horizontal=True, key="sample"
        )
        return _sample(name)
    upload = st.file_uploader(
        "Your picture",
        ENDINGS,
        max_upload_size=MAX_MEGABYTES,
        key="upload",
        help=f"PNG, JPEG, WebP, TIFF, BMP or GIF, of up to {MAX_MEGABYTES} MB and "
        f"{MAX_PIXELS // 10**6} million pixels. It stays in this computer's or server's memory "
        "while the page is open, and is not written anywhere.",
    )
    if upload is None:
        return None
    try:
        return _read(upload.file_id, upload.name, upload)
    except data.ImageError as error:
        st.error(f"{short(upload.name)}: {plain(str(error))}")
        return None


@st.cache_resource(max_entries=len(data.EXAMPLES), show_spinner=False)
def _sample(name: str) -> Source:
    rgb = data.to_image(data.example(name))
    return source(name, f"{name}.png", data.UserImage(rgb, None, "PNG", ()))


# Two decoded pictures in the whole process: 12 million pixels are 36 MB each.
@st.cache_resource(max_entries=2, show_spinner="Reading the picture …")
def _read(key: str, name: str, _file) -> Source:
    with _reading:
        return read(key, name, _file.getvalue())


def describe(source: Source, *, keeps_alpha: bool) -> str:
    """Say for Markdown what the picture is, and what was done to it when it was read."""
    image = source.image
    notes = list(image.notes)
    if image.alpha and keeps_alpha:
        notes[notes.index("transparent parts on white")] = "transparency kept"
    return f"{short(source.name)}: " + plain(
        "; ".join([f"{image.format}, {dimensions(source.size)} pixels", *notes])
    )


def choose_cut(source: Source, limit: int) -> Cut:
    """Ask what to do with a picture of more than ``limit`` pixels a side."""
    if max(source.size) <= limit:
        return Cut()
    how = st.radio(
        f"This picture is larger than {dimensions((limit, limit))}. Take",
        (PART, WHOLE),
        horizontal=True,
        key="how",
    )
    if how == WHOLE:
        return Cut(WHOLE)
    return place_sliders(source.size, limit, key="cut", what="Place of the part")


def choose_what(source: Source, limit: int, scale: int) -> Prepared | None:
    """Let the visitor choose what of the picture is enlarged, and say it."""
    truth = st.toggle(
        "Treat this picture as the ground truth",
        key="truth",
        help=f"The picture is first made {scale} times smaller, and enlarged from that. The "
        "result can then be measured against the original.",
    )
    cut = choose_cut(source, limit * scale if truth else limit)
    try:
        prepared = prepare(source.image, limit, cut, scale=scale, truth=truth)
    except data.ImageError as error:
        st.error(f"{short(source.name)}: {plain(str(error))}")
        return None
    note(describe(source, keeps_alpha=not truth))
    st.write(explain(source, prepared, scale))
    return prepared


def picture(source: Source, prepared: Prepared | None) -> None:
    """Show the chosen picture, with a frame around the part that is taken of it."""
    image = framed(source.thumbnail, source.size, prepared.box if prepared else None)
    st.image(image, alt=f"The chosen picture, {source.name}")


# choosing options


def choose_limit(limits: tuple[int, ...], usual: int) -> int:
    """Ask how many pixels a side the model gets at most."""
    return st.select_slider(
        "Largest picture that the model gets",
        limits,
        value=usual,
        format_func=lambda side: f"{side} × {side}",
        key="limit",
        help="In pixels. Of a larger picture you choose a part, or have it made smaller. The "
        "result is four times as wide and high; time grows with the number of pixels.",
    )


def choose_seed() -> int:
    """Ask for the number that the noise is made from."""
    seed = st.number_input(
        "Seed",
        0,
        2**31 - 1,
        0,
        key="seed",
        help="The number that the noise is made from. The same seed gives the same picture; "
        "further samples take the next numbers.",
    )
    return int(seed)


def choose_samples(limit: int) -> int:
    """Ask how many pictures are drawn, of at most ``limit`` x ``limit`` pixels each."""
    most = samples_allowed(limit)
    return st.slider(
        "Samples",
        1,
        most,
        1,
        key=f"samples-{most}",
        help="How many pictures to draw. Where they differ, the model is unsure. "
        "At 512 × 512 there are at most 2, to bound the memory.",
    )


def note(text: str) -> None:
    """Write a remark in small print: that of ``st.caption`` is too pale to be read by all."""
    st.markdown(f":small[{text}]")


# the queue


@st.cache_resource(show_spinner=False)
def queue() -> JobQueue:
    """Return the one queue of this process."""
    # The pages of those who wait are Python as well. By default each may keep the one who
    # computes waiting for 5 ms, and he asks hundreds of times in a step.
    sys.setswitchinterval(0.0005)
    return JobQueue()


def presence() -> Callable[[], bool]:
    """Return a function that tells from any thread whether this visitor's page is open."""
    session, instance = get_script_run_ctx().session_id, runtime.get_instance()
    return lambda: instance.is_active_session(session)


def submit(work: Callable) -> Job | None:
    """Queue a computation; None, with a message, where too many are waiting."""
    try:
        return queue().submit(work, presence())
    except QueueFull:
        st.warning("Many visitors are waiting at the moment. Please try again in a minute.")
        return None


def take_ended(key: str) -> Job | None:
    """Return the visitor's job that is kept under ``key`` if it has just ended, and forget it."""
    job = st.session_state.get(key)
    if job is None or not job.ended:
        return None
    st.session_state[key] = None
    return job


def offer(
    label: str, work: Work | None, *, key: str, ended: Job | None, main: bool, what: str = "run"
) -> None:
    """Show a button that queues ``work``, then how far this is, and at last how it ended.

    The job is kept under ``key`` in the visitor's session. Without ``work`` the button cannot
    be pressed; ``main`` makes it the one of the page; ``what`` it starts is said in messages.
    """
    job = st.session_state.get(key)
    kind = "primary" if main else "secondary"
    pressed = st.button(label, type=kind, disabled=work is None or job is not None)
    if pressed and work:  # which may have gone since the button was drawn
        job = submit(work)
        if job:
            st.session_state[key] = job
            st.rerun()  # with the button disabled
    elif job:
        follow(job)
    elif ended:
        say_how_it_ended(ended, what)


def follow(job: Job) -> None:
    """Show how far a job is, or its place in the queue, until it has ended."""
    every = pace(queue().ahead(job))
    st.fragment(_progress, run_every=every)(job, every)


def pace(ahead: int) -> float:
    """Return how often to look, in seconds: the longer the wait, the less often.

    Looking costs time that is taken from the one whose turn it is.
    """
    return min(REFRESH * (2 + 2 * ahead), SLOWEST) if ahead else REFRESH


def _progress(job: Job, every: float) -> None:
    if job.ended or pace(queue().ahead(job)) != every:
        st.rerun()
    share, text = progress_of(job, queue().ahead(job))
    st.progress(share, text)
    st.button(
        "Cancel",
        on_click=queue().cancel,
        args=(job,),
        disabled=job.stopping,
        key=f"cancel-{id(job)}",
    )


def progress_of(job: Job, ahead: int) -> tuple[float, str]:
    """Return how much of a job is done, from 0 to 1, and say it in words."""
    progress = job.progress
    counted = isinstance(progress, upscaling.Progress)
    share = progress.done / progress.total if counted else 0.0
    if job.stopping:
        return share, "Stopping after this step …"
    if job.state == WAITING:
        return 0.0, f"Waiting: {ahead} {'run' if ahead == 1 else 'runs'} to go before yours"
    if not counted:
        return 0.0, progress or "Starting …"
    if progress.done == progress.total:
        return 1.0, "Finishing …"
    return share, (
        f"Step {progress.done} of {progress.total}, about {duration(progress.seconds_left)} left"
    )


def duration(seconds: float) -> str:
    """Return a time in words, rounded up."""
    if seconds < 60:
        return f"{max(1, math.ceil(seconds))} s"
    return f"{math.ceil(seconds / 60)} min"


def say_how_it_ended(job: Job, what: str) -> None:
    """Give a message where a job has not come to its end."""
    if job.state == CANCELLED:
        st.info(f"The {what} was cancelled.")
    elif job.state == FAILED:
        st.error(failure(job.error))


def failure(error: BaseException) -> str:
    """Say for Markdown, and for visitors, why something has failed."""
    if isinstance(error, MemoryError) or "allocate" in str(error):  # PyTorch's word for it
        return "There was not enough memory. Choose a smaller picture size or fewer samples."
    if isinstance(error, upscaling.UpscalingError | upscaling.CheckpointError):
        return plain(str(error))
    if isinstance(error, ModuleNotFoundError):
        return f"The package {plain(str(error.name))} is not installed here."
    return f"Something went wrong ({type(error).__name__}). The server's log says more."
