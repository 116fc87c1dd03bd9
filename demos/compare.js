// The view scrolls; the divider stays where it is in the view, and cuts what is behind it.
export default function ({ data, parentElement }) {
  const find = (selector) => parentElement.querySelector(selector);
  const [view, stage, line, range] = [".view", ".stage", ".line", "input"].map(find);
  const [before, after] = [find(".before"), find(".after")];
  const buttons = [...parentElement.querySelectorAll(".zoom button")];

  function divide() {
    const share = range.value / 100;
    const here = share * view.clientWidth;
    const cut = view.scrollLeft + here;
    before.style.clipPath = `inset(0 calc(100% - ${cut}px) 0 0)`;
    after.style.clipPath = `inset(0 0 0 ${cut}px)`;
    line.style.left = `${here}px`;
    range.setAttribute(
      "aria-valuetext",
      `${range.value} % ${data.beforeName}, ${100 - range.value} % ${data.afterName}`,
    );
  }

  function zoomTo(zoom) {
    const middle = [view.scrollLeft + view.clientWidth / 2, view.scrollTop + view.clientHeight / 2];
    const factor = zoom / (Number(stage.dataset.zoom) || zoom);
    stage.dataset.zoom = zoom;
    stage.style.width = `${data.width * zoom}px`;
    stage.style.height = `${data.height * zoom}px`;
    for (const button of buttons) button.ariaPressed = String(Number(button.value) === zoom);
    find(".compare").classList.toggle("small", data.width * zoom < 200);
    view.scrollLeft = middle[0] * factor - view.clientWidth / 2;
    view.scrollTop = middle[1] * factor - view.clientHeight / 2;
    divide();
  }

  function drag(element, move) {
    element.onpointerdown = (down) => {
      if (element === view && down.pointerType !== "mouse") return; // a finger scrolls by itself
      const rest = view.getBoundingClientRect();
      const onScrollBar =
        down.clientX - rest.left > view.clientWidth || down.clientY - rest.top > view.clientHeight;
      if (element === view && onScrollBar) return;
      element.setPointerCapture(down.pointerId);
      element.onpointermove = move;
      element.onpointerup = element.onpointercancel = () => (element.onpointermove = null);
    };
  }

  drag(view, (event) => {
    view.scrollLeft -= event.movementX;
    view.scrollTop -= event.movementY;
  });
  drag(line, (event) => {
    const rest = view.getBoundingClientRect();
    range.value = (100 * (event.clientX - rest.left)) / view.clientWidth;
    divide();
  });

  [before.src, before.alt] = [data.before, data.beforeAlt];
  [after.src, after.alt] = [data.after, data.afterAlt];
  find(".left").textContent = data.beforeName;
  find(".right").textContent = data.afterName;
  view.ariaLabel = `${data.beforeName} and ${data.afterName}, to be scrolled`;
  range.oninput = divide;
  view.onscroll = divide;
  for (const button of buttons) button.onclick = () => zoomTo(Number(button.value));

  const size = `${data.width} ${data.height}`;
  if (stage.dataset.size !== size) {
    stage.dataset.size = size;
    delete stage.dataset.zoom;
    zoomTo(data.width <= 128 ? 4 : data.width <= 256 ? 2 : 1);
  } else {
    zoomTo(Number(stage.dataset.zoom));
  }
  const observer = new ResizeObserver(divide);
  observer.observe(view);
  return () => observer.disconnect();
}
