// Small repairs of the theme's markup, so that screen readers and keyboards reach everything.
const sidebar = document.querySelector(".bd-sidebar-primary");
if (sidebar) {
  // The logo and the search field stand outside the theme's landmarks.
  sidebar.setAttribute("role", "region");
  sidebar.setAttribute("aria-label", "Book");
}
// The bibliography's roles are deprecated, and not allowed on these elements.
for (const entry of document.querySelectorAll("[role=doc-biblioentry], .citation-list")) {
  entry.removeAttribute("role");
}

// What scrolls sideways must be reachable with the keyboard.
const wide = ".cl-picture, div.math, .pst-scrollable-table-container, .bd-article pre";
const reach = () => {
  for (const box of document.querySelectorAll(wide)) {
    if (box.scrollWidth > box.clientWidth) box.setAttribute("tabindex", "0");
  }
};
addEventListener("load", () => {
  reach();
  window.MathJax?.startup?.promise?.then(reach);
});
addEventListener("resize", reach);
