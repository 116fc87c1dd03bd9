// Small repairs of the theme's markup, so that screen readers and keyboards reach everything.
const sidebar = document.querySelector(".bd-sidebar-primary");
if (sidebar) {
  // The logo and the search field stand outside the theme's landmarks.
  sidebar.setAttribute("role", "region");
  sidebar.setAttribute("aria-label", "Book");
}
