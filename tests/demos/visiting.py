"""What a visitor does, on a page that runs without a browser."""

from streamlit.testing.v1 import AppTest

import common

PATIENCE = 120  # seconds


def upload(app: AppTest, name: str, content: bytes) -> AppTest:
    app.radio(key="kind").set_value(common.OWN).run()
    app.file_uploader(key="upload").set_value((name, content, "image/png")).run()
    assert not app.exception
    return app


def button(app: AppTest, label: str):
    return next(button for button in app.button if button.label == label)


def start(app: AppTest, label: str = "Upscale") -> AppTest:
    button(app, label).click().run()
    assert not app.exception
    return app


def finish(app: AppTest, key: str = "srdiff-job") -> AppTest:
    """Wait for the visitor's job, and let the page look at it unless it has seen its end."""
    if job := app.session_state[key]:
        assert job.wait(PATIENCE)
        app.run()
    assert not app.exception
    return app


def text(app: AppTest) -> str:
    return "\n".join(element.value for element in app.markdown)
