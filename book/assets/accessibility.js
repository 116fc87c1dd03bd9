// Small repairs of the theme's markup, so that screen readers and keyboards reach everything.
