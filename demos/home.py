"""The launcher: all demonstrations of the course under one address.

Start it with ``make demos``, or ``streamlit run demos/home.py``.
"""

import streamlit as st

st.navigation(
    [
        st.Page("noise.py", title="Pictures from noise", default=True),
        st.Page("st_app1.py", title="Super-resolution with SRDiff", url_path="srdiff"),
        st.Page("st_app2.py", title="Stable Diffusion upscaling", url_path="latent"),
    ]
).run()
