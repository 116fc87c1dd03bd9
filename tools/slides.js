// Set the formulas, shrink what is too large for its slide, then start reveal.js.

const SMALLEST = 0.7;  // of the usual size, so that slides stay legible

function fitFormulas(slide) {
  for (const formula of slide.querySelectorAll('mjx-container[display="true"]')) {
    const width = Math.max(formula.scrollWidth, formula.offsetWidth);  // may exceed the slide's
    const ratio = formula.parentElement.clientWidth / width;
    if (ratio < 0.995) formula.style.fontSize = `${Math.max(SMALLEST, 0.98 * ratio) * 100}%`;
  }
}

function fitBody(slide) {
  const body = slide.querySelector(".body");
  const style = getComputedStyle(slide);
  const top = body.getBoundingClientRect().top - slide.getBoundingClientRect().top;
  const room = slide.clientHeight - top - parseFloat(style.paddingBottom);
  for (let scale = 1; scale >= SMALLEST; scale -= 0.05) {
    body.style.zoom = scale === 1 ? "" : scale;
    if (body.getBoundingClientRect().height <= room) break;
  }
}

window.MathJax = {
  tex: { inlineMath: [["\\(", "\\)"]], displayMath: [["\\[", "\\]"]] },
  chtml: { matchFontHeight: false },
  options: { ignoreHtmlClass: "notes|code", enableMenu: false },
  startup: {
    async pageReady() {
      await MathJax.startup.defaultPageReady();
      await document.fonts.ready;
      for (const slide of document.querySelectorAll(".slides section:not(:has(> section))")) {
        fitFormulas(slide);
        fitBody(slide);
      }
      await Reveal.initialize({
        width: 1280, height: 720, margin: 0, center: false, hash: true, transition: "none",
        backgroundTransition: "none", slideNumber: "c/t", plugins: [RevealNotes],
      });
    },
  },
};
