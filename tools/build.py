"""Build the book strictly, with slides for its chapters, and say how to open it.

Every page is built anew on every call (`--all`): warnings of unchanged pages would otherwise
be forgotten. What takes long, executing the chapters, is cached; see
`book/_ext/course_book.py` for what the cache depends on.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

import slides

ROOT = Path(__file__).parents[1]
PAGES = ROOT / "_build" / "html"


def quiet_kernels() -> Path:
    """Return a settings folder with which kernels do not warn that localhost is not encrypted."""
    profile = ROOT / "_build" / "ipython" / "profile_default"
    profile.mkdir(parents=True, exist_ok=True)
    (profile / "ipython_kernel_config.py").write_text('c.IPKernelApp.log_level = "ERROR"\n')
    return profile.parent


def main() -> int:
    """Run jupyter-book, make the slides, and return the exit code."""
    started = time.monotonic()
    command = [
        str(Path(sys.executable).with_name("jupyter-book")),
        *("build", "book", "--path-output", "."),
        # Absolute, for Sphinx would look for the table of contents in book/.
        *("--config", str(ROOT / "_config.yml"), "--toc", str(ROOT / "_toc.yml")),
        *("--all", "-n", "-W", "--keep-going"),
    ]
    environment = {
        "OMP_WAIT_POLICY": "PASSIVE",
        "OMP_NUM_THREADS": "1",  # the chapters' networks are so small that more only cost time
        **os.environ,
        "IPYTHONDIR": str(quiet_kernels()),
    }
    code = subprocess.run(command, cwd=ROOT, env=environment).returncode
    seconds = time.monotonic() - started
    if code:
        print(f"\nThe book was not built cleanly ({seconds:.0f} s): see the warnings above.")
        return code
    if code := slides.main():
        return code
    print(
        f"\nThe book is built ({seconds:.0f} s). Open it in a browser:\n"
        f"    {PAGES / 'index.html'}\n"
        "or run `make serve` and visit http://localhost:8000"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
