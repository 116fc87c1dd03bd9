"""Pictures from noise: draw pictures from the generative models of the course.

Start it with ``make demos``, or ``streamlit run demos/noise.py``.
"""

import math

import streamlit as st
import torch

from course_lib import metrics, show, weights


@st.cache_resource
def load(name: str) -> torch.nn.Module:
    """Load a shipped model once for all visitors."""
    return weights.load(name)


@st.cache_data(max_entries=200)
def sheet(name: str, number: int, seed: int) -> bytes:
    """Return a contact sheet of samples as PNG, always the same for the same arguments."""
    images, _ = metrics.draw(load(name), number, seed=seed)
    picture = show.contact_sheet(images, columns=math.ceil(math.sqrt(number)))
    return show.png_bytes(picture.resize((picture.width * 3, picture.height * 3), resample=0))


def generative_models() -> list[str]:
    """Return the names of the shipped models that can be sampled."""
    return [name for name in weights.names() if metrics.draws(load(name))]


st.set_page_config(page_title="Pictures from noise")
st.title("Pictures from noise")
st.write("Each of these networks has learned to draw clothes. Choose one, and a seed.")

with st.sidebar:
    name = st.selectbox(
        "Model",
        generative_models(),
        format_func=lambda name: weights.card(name)["summary"],
        help="All of them are small, and were trained by this course.",
    )
    number = st.slider("How many pictures", 1, 100, 36)
    seed = st.number_input("Seed", 0, 2**31 - 1, 0, help="The same seed gives the same pictures.")

picture = sheet(name, number, int(seed))
st.image(picture)
st.caption(f"{number} pictures drawn by the model '{name}' from seed {seed}")
st.download_button("Download as PNG", picture, f"{name}-seed{seed}.png", "image/png")
with st.expander("How this model was trained and measured"):
    st.markdown(show.card(name).text)
