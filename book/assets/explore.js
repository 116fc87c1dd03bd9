// Sliders of the published page: they move a window over one picture that holds all frames.
// With scripts off, the whole picture is shown instead, and nothing pretends to work.
for (const explorer of document.querySelectorAll(".cl-explore")) {
  const sheet = explorer.querySelector("img");
  const controls = explorer.querySelector(".cl-controls");
  const inputs = [...controls.querySelectorAll("input")];
  const counts = inputs.map((input) => Number(input.max) + 1);
  const { columns, width, height, zoom } = explorer.dataset;
  const start = () => {
    const canvas = document.createElement("canvas");
    canvas.width = width;
    canvas.height = height;
    canvas.style.width = `${width * zoom}px`;
    canvas.setAttribute("role", "img");
    const context = canvas.getContext("2d");
    const update = () => {
      const frame = inputs.reduce((sum, input, i) => sum * counts[i] + Number(input.value), 0);
      const x = (frame % columns) * width;
      const y = Math.floor(frame / columns) * height;
      context.clearRect(0, 0, width, height);
      context.drawImage(sheet, x, y, width, height, 0, 0, width, height);
      const values = inputs.map((input) => {
        const text = JSON.parse(input.dataset.labels)[Number(input.value)];
        input.previousElementSibling.textContent = text;
        input.setAttribute("aria-valuetext", text);
        return `${input.parentElement.firstChild.textContent.trim()} ${text}`;
      });
      canvas.setAttribute("aria-label", `${sheet.alt} Now: ${values.join(", ")}.`);
      explorer.dataset.frame = frame;
    };
    for (const input of inputs) input.addEventListener("input", update);
    sheet.hidden = true;
    sheet.after(canvas);
    controls.hidden = false;
    update();
  };
  if (sheet.complete && sheet.naturalWidth) start();
  else sheet.addEventListener("load", start);
}
